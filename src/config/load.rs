//! File, environment and command line to one checked configuration.

use crate::{
    Config, env,
    fault::{Fault, Faults},
    reader::Reader,
    schema::Field,
    validate::{Verdict, judge},
};
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Where a configuration is looked for when none is named, in this order, from the current directory.
pub const PLACES: [&str; 2] = ["gateway.toml", "config/gateway.toml"];
/// A configuration file is at most this long.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A configuration that was read and checked: there is no fault in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration, [completed](Config::completed).
    pub config: Config,
    /// The file it came from, if there is one.
    pub file: Option<PathBuf>,
    /// What is admitted and probably not meant: one line each, without secrets.
    pub warnings: Vec<String>,
}

/// The environment of this process, for [`load`]. Unlike [`std::env::vars`] it does not panic: a value that is not
/// UTF-8 carries replacement characters, and is a fault where it is used.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()))
}

/// Reads a configuration file, lays the environment's `GATEWAY_<SECTION>__<KEY>` and then `overrides` over it, and
/// checks the whole.
///
/// `path` `None` takes the first of [`PLACES`] that exists. `overrides` are key paths with texts, as a command line
/// brings them: `("server.listen", "0.0.0.0:5000")`. `environment` is also where `"env:NAME"` secrets are looked up;
/// pass [`environment()`].
///
/// # Errors
/// Every fault at once: no such file, TOML that does not parse (with line and column), unknown keys, wrong types and
/// values, rules between values, secrets that are not there, and what this version cannot do.
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(&str, &str)],
) -> Result<Loaded, Faults> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => find(Path::new(""))?,
    };
    let text = read(&path).map_err(|reason| Faults::one(path.display().to_string(), reason))?;
    parse(Some((&path, &text)), environment, overrides)
}

/// Like [`load`], for a file that was read already, or for none (`demo`, a mounted gateway). Reads no file but those
/// that `"file:PATH"` secrets name.
///
/// # Errors
/// As [`load`].
pub fn parse(
    file: Option<(&Path, &str)>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(&str, &str)],
) -> Result<Loaded, Faults> {
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    let name = file.map_or_else(String::new, |(path, _)| path.display().to_string());
    let tree = match file {
        Some((_, text)) => syntax(text, &name)?,
        None => Dict::new(),
    };
    let figment = layers(&name, tree, &environment, overrides);
    let merged = figment.data().map_err(|error| Faults::one(&name, format!("cannot be merged: {}", error.kind)))?;
    let merged = merged.into_iter().find(|(profile, _)| *profile == Profile::Default).map(|(_, tree)| tree);

    let mut reader = Reader::new(&figment, &environment, Config::SHAPE);
    let config = Config::read(&merged.unwrap_or_default().into(), "", &mut reader).unwrap_or_default().completed();
    let (mut faults, origins) = reader.finish();
    let wrong: BTreeSet<String> = faults.iter().map(|fault| fault.key.clone()).collect();
    let Verdict { faults: broken, warnings } = judge(&config, &origins, &name, &wrong);
    faults.extend(broken);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let warnings = warnings.iter().map(Fault::to_string).collect();
    Ok(Loaded { config, file: file.map(|(path, _)| path.to_owned()), warnings })
}

/// The first of [`PLACES`] under `directory` that exists.
fn find(directory: &Path) -> Result<PathBuf, Faults> {
    PLACES.iter().map(|place| directory.join(place)).find(|place| place.exists()).ok_or_else(|| {
        let reason = format!(
            "no configuration: neither {} nor {} exists here; name one with --config FILE",
            PLACES[0], PLACES[1]
        );
        Faults::one("", reason)
    })
}

/// The text of a configuration file.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => format!("cannot be opened: {error}"),
    })?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_MAX { Err(format!("is longer than {FILE_MAX} bytes")) } else { Ok(text) }
}

/// The tree of a TOML text. The parser's own error would quote the line, and with it perhaps a secret: only its
/// message is told, and where it is.
fn syntax(text: &str, name: &str) -> Result<Dict, Faults> {
    Toml::from_str(text).map_err(|error| {
        let before = &text[..error.span().map_or(0, |span| text.floor_char_boundary(span.start))];
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        Faults::one(name, format!("line {line}, column {column}: {message}"))
    })
}

/// File, variables and overrides, the later over the earlier, each with its name.
fn layers(name: &str, tree: Dict, environment: &BTreeMap<String, String>, overrides: &[(&str, &str)]) -> Figment {
    let variables = env::variables(environment, Config::SHAPE, &tree);
    let known = tree.clone();
    let mut figment = Figment::from(Layer { metadata: Metadata::from(name.to_owned(), Path::new(name)), tree });
    for (name, tree) in variables {
        figment = figment.merge(Layer { metadata: Metadata::named(name.to_owned()), tree });
    }
    for (path, text) in overrides {
        let segments: Vec<&str> = path.split('.').collect();
        let tree = env::tree(&segments, text, Config::SHAPE, Some(&known));
        figment = figment.merge(Layer { metadata: Metadata::named("command line"), tree });
    }
    figment
}

/// One source of values. Without a `Source` in its metadata its texts are untyped, see [`Reader::raw`].
struct Layer {
    metadata: Metadata,
    tree: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.tree.clone())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_exists() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        assert!(find(here).unwrap_err().to_string().contains("neither gateway.toml nor config/gateway.toml"));
        std::fs::create_dir(here.join("config")).unwrap();
        std::fs::write(here.join("config/gateway.toml"), "").unwrap();
        assert_eq!(find(here).unwrap(), here.join("config/gateway.toml"));
        std::fs::write(here.join("gateway.toml"), "").unwrap();
        assert_eq!(find(here).unwrap(), here.join("gateway.toml"));
    }
}
