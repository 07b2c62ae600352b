//! A program's files to the storage service.

use super::{Failed, patiently};
use gateway_outside::{Client, ExchangeFault, redact};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// More files than this are a mistake.
const MOST: usize = 1000;
/// Deeper directories are a mistake, too.
const DEEPEST: usize = 16;
/// The longest answer that is read.
const ANSWER: usize = 64 << 10;

/// A file that a program left.
pub(super) struct OutputFile {
    /// Its path below the directory, with `/` between segments.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Where the storage service wants a file.
#[derive(Deserialize)]
struct Place {
    storage_doc_id: String,
    upload_url: String,
}

/// The regular files in a directory and below it, by name.
///
/// # Errors
/// What the file system says; more than [`MOST`] files, or directories deeper than [`DEEPEST`].
pub(super) fn list(directory: &Path) -> io::Result<Vec<OutputFile>> {
    let mut files = Vec::new();
    collect(directory, "", 0, &mut files)?;
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn collect(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<OutputFile>) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("directories are more than {DEEPEST} deep")));
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // The entry's own type: links are not followed, they may lead anywhere.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), depth + 1, files)?;
        } else if kind.is_file() {
            files.push(OutputFile { name, path: entry.path() });
        }
        if files.len() > MOST {
            return Err(io::Error::other(format!("there are more than {MOST}")));
        }
    }
    Ok(())
}

/// Hands one file in; gives what the result says of it.
///
/// # Errors
/// `UploadError`.
pub(super) async fn upload(client: &Client, upload_url: &str, file: &OutputFile) -> Result<Value, Failed> {
    let failed = |why: String| Failed::upload(format!("the file {:?} was not stored: {why}", file.name));
    let fault = |fault: ExchangeFault| failed(fault.to_string());
    let ask = with_name(upload_url, &file.name);
    let reply = patiently(|| client.get_json(&ask, ANSWER)).await.map_err(fault)?;
    if !(200..300).contains(&reply.status) {
        return Err(failed(format!("{} answered {}", redact(upload_url), reply.status)));
    }
    let place: Place = serde_json::from_slice(&reply.body)
        .map_err(|_| failed(format!("{} did not answer with storage_doc_id and upload_url", redact(upload_url))))?;
    let reply = patiently(|| client.put_file(&place.upload_url, &file.path)).await.map_err(fault)?;
    if !(200..300).contains(&reply.status) {
        return Err(failed(format!("{} answered {}", redact(&place.upload_url), reply.status)));
    }
    Ok(json!({ "name": file.name, "storage_doc_id": place.storage_doc_id }))
}

/// The URL with the file's name as its last query argument.
fn with_name(url: &str, name: &str) -> String {
    let name: String = name.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    });
    // A fragment is never sent.
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}filename={name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded() {
        assert_eq!(with_name("http://h/add", "a b/é.wav"), "http://h/add?filename=a%20b%2F%C3%A9.wav");
        assert_eq!(with_name("http://h/add?x=1#f", "a&b"), "http://h/add?x=1&filename=a%26b");
    }

    #[test]
    fn regular_files_below_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("b/c")).unwrap();
        fs::write(at("b/c/2"), "x").unwrap();
        fs::write(at("a"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
        std::os::unix::fs::symlink("/etc", at("b/link")).unwrap();
        let names: Vec<_> = list(directory.path()).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a", "b/c/2"]);
        for n in 0..=MOST {
            fs::write(at(&format!("b/{n}")), "").unwrap();
        }
        assert!(list(directory.path()).is_err());
    }
}
