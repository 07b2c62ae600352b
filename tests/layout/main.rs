//! Holds the house to its plan: what depends on what, what lies where, and what the documents say.
//!
//! | module | holds |
//! |---|---|
//! | `dependencies` | who may know whom (`cargo metadata`) |
//! | `files` | what stands at the top, how long files are, how layers introduce themselves |
//! | `documents` | the shipped configuration and what the README shows and points at |

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod dependencies;
mod documents;
mod files;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What lies in a directory of the repository, sorted.
fn entries(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let directory = root().join(directory);
    let read = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = read.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
