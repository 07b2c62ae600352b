//! The directory of one run.

use crate::Job;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};
use uuid::Uuid;

/// The guard holds it locked as long as the program may run.
pub(crate) const GUARD_LOCK: &str = "lock";
/// The runner's process holds it locked as long as it lives: what it has in hand is not left over.
pub(crate) const OWNER_LOCK: &str = "owner";
/// The end of a name that is not yet a run's.
const UNFINISHED: &str = ".new";

/// A run's directory, ours as long as this lives.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: String,
    document: String,
    params: String,
    output: String,
    temporary: String,
    _owner: File,
}

impl RunDirectory {
    /// Makes `<root>/<uuid>.<attempt>/` with `params.json`, `output/` and `tmp/`, for nobody's eyes but ours.
    ///
    /// # Errors
    /// What the file system says; `AlreadyExists` or `DirectoryNotEmpty` if this attempt has a directory already.
    pub(crate) fn create(root: &str, job: &Job) -> io::Result<Self> {
        let path = path(root, job);
        // Made under another name and renamed, so that no run is ever seen without its owner's lock. A name of its own:
        // others may have the same attempt in hand.
        let unfinished = format!("{path}.{}{UNFINISHED}", Uuid::now_v7());
        // Until it has an owner, nobody may take it for left over.
        let making = lock_root(root, FlockOperation::LockShared)?;
        let filled = Self::fill(&unfinished, job);
        drop(making);
        let made = filled.and_then(|owner| fs::rename(&unfinished, &path).map(|()| owner));
        let _owner = made.inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))?;
        let extension = job.document_url.as_deref().and_then(gateway_outside::extension);
        let document = match extension {
            Some(extension) => format!("{path}/document.{extension}"),
            None => format!("{path}/document"),
        };
        let [params, output, temporary] = ["params.json", "output", "tmp"].map(|name| format!("{path}/{name}"));
        Ok(Self { path, document, params, output, temporary, _owner })
    }

    fn fill(path: &str, job: &Job) -> io::Result<File> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.create(path)?;
        let owner = lock_file(&format!("{path}/{OWNER_LOCK}"))?;
        flock(&owner, FlockOperation::NonBlockingLockExclusive)?;
        private.create(format!("{path}/output"))?;
        private.create(format!("{path}/tmp"))?;
        let params = OpenOptions::new().write(true).create_new(true).mode(0o600).open(format!("{path}/params.json"))?;
        let mut params = io::BufWriter::new(params);
        serde_json::to_writer(&mut params, &job.argument)?;
        params.flush()?;
        Ok(owner)
    }

    /// The directory, absolute; also the mark of the run's processes.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where the document is, or would be.
    pub(crate) fn document(&self) -> &str {
        &self.document
    }

    /// The task's argument as JSON.
    pub(crate) fn params(&self) -> &str {
        &self.params
    }

    /// Where the program may leave files.
    pub(crate) fn output(&self) -> &str {
        &self.output
    }

    /// For the program's temporary files.
    pub(crate) fn temporary(&self) -> &str {
        &self.temporary
    }

    /// Removes it with everything in it.
    pub(crate) fn remove(self) -> io::Result<()> {
        remove(Path::new(&self.path))
    }
}

/// The directory of a job's run.
pub(crate) fn path(root: &str, job: &Job) -> String {
    format!("{root}/{}.{}", job.id, job.attempt)
}

/// Whose directory has that name.
pub(crate) fn parse(name: &str) -> Option<(Uuid, u32)> {
    let (id, attempt) = name.split_once('.')?;
    Some((Uuid::try_parse(id).ok()?, attempt.parse().ok()?))
}

/// Whether that name is of a directory that is being made, or whose making was interrupted.
pub(crate) fn is_unfinished(name: &str) -> bool {
    let run = name.strip_suffix(UNFINISHED).and_then(|name| name.rsplit_once('.'));
    run.is_some_and(|(run, own)| parse(run).is_some() && Uuid::try_parse(own).is_ok())
}

/// Locks the directory of all runs, as long as the file is held: shared, directories are made in it; exclusive, none is.
///
/// # Errors
/// What the file system says; `WouldBlock` if it is not to be waited for.
pub(crate) fn lock_root(root: impl AsRef<Path>, how: FlockOperation) -> io::Result<File> {
    let root = File::open(root)?;
    flock(&root, how)?;
    Ok(root)
}

/// Opens a file that is there to be locked; a program never inherits it, and so never holds the lock.
pub(crate) fn lock_file(path: &str) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Removes a run directory, also when a program left directories in it that it may not enter itself.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives us back the right to every directory in `path`. What cannot be changed shows when it is removed.
fn open_up(path: &Path) {
    drop(fs::set_permissions(path, Permissions::from_mode(0o700)));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        // The entry's own type: links are not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(document_url: Option<&str>) -> Job {
        Job {
            id: Uuid::from_u128(7),
            service: "stub".into(),
            attempt: 2,
            last: true,
            trace: None,
            argument: json!({"a": [1]}),
            document_url: document_url.map(Into::into),
            version: String::new(),
        }
    }

    #[test]
    fn made_private_and_removed_whole() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().to_str().unwrap();
        let made = RunDirectory::create(root, &job(Some("http://h/x.wav?y"))).unwrap();
        assert!(made.path().ends_with("/00000000-0000-0000-0000-000000000007.2"));
        assert!(made.document().ends_with("/document.wav"));
        assert_eq!(fs::read_to_string(made.params()).unwrap(), r#"{"a":[1]}"#);
        assert_eq!(fs::metadata(made.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(fs::metadata(made.output()).unwrap().is_dir());
        assert!(RunDirectory::create(root, &job(None)).is_err(), "it is there already");
        fs::create_dir_all(format!("{}/a/b", made.output())).unwrap();
        fs::set_permissions(format!("{}/a", made.output()), Permissions::from_mode(0o000)).unwrap();
        made.remove().unwrap();
        assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    }

    #[test]
    fn two_that_make_the_same_leave_each_other_alone() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().to_str().unwrap();
        let other = format!("{}.{}{UNFINISHED}", path(root, &job(None)), Uuid::now_v7());
        let _owner = RunDirectory::fill(&other, &job(None)).unwrap();
        let made = RunDirectory::create(root, &job(None)).unwrap();
        assert!(RunDirectory::create(root, &job(None)).is_err(), "it is there already");
        assert!(fs::exists(format!("{other}/{OWNER_LOCK}")).unwrap());
        made.remove().unwrap();
        assert_eq!(fs::read_dir(root).unwrap().count(), 1);
    }

    #[test]
    fn names() {
        let id = Uuid::from_u128(7);
        assert_eq!(parse(&format!("{id}.12")), Some((id, 12)));
        assert_eq!(parse("lost+found"), None);
        assert_eq!(parse(&format!("{id}.-1")), None);
        assert!(is_unfinished(&format!("{id}.1.{id}.new")));
        assert!(!is_unfinished("x.new") && !is_unfinished(&format!("{id}.1")));
        assert!(RunDirectory::create("/nonexistent", &job(None)).is_err());
    }
}
