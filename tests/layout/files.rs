//! What lies where, and how long it is.

use crate::{entries, name, root, text};
use std::path::{Path, PathBuf};

/// What may stand at the top; the README's map gives the reason for each.
const TOP: [&str; 14] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "config",
    "deny.toml",
    "examples",
    "layers",
    "rustfmt.toml",
    "src",
    "tests",
];

/// What git ignores, and what a run in this directory leaves.
fn is_left_over(name: &str) -> bool {
    let suffix = |suffix: &str| name.ends_with(suffix);
    name == "target"
        || name == "gateway.toml"
        || [".db", ".db-wal", ".db-shm", ".lock", ".runs"].into_iter().any(suffix)
}

/// A file has one idea; beyond this many lines it has two.
const LONGEST: usize = 450;

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<_> = ["src", "layers", "tests", "benches", "examples"].map(|it| root().join(it)).into();
    while let Some(directory) = open.pop() {
        for path in entries(&directory) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 100, "only {} sources were found", found.len());
    found
}

/// The crates in `layers/`, without the words they share.
fn layers() -> Vec<PathBuf> {
    let layers: Vec<_> = entries("layers").into_iter().filter(|path| name(path) != "contract").collect();
    assert!(layers.len() >= 9, "{layers:?}");
    layers
}

/// The doc comment at the top of a crate, without its `//!`.
fn introduction(layer: &Path) -> Vec<String> {
    let lib = text(layer.join("src/lib.rs"));
    let lines = lib.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned()).collect()
}

#[test]
fn the_top_is_a_map() {
    let map = text("README.md");
    for path in entries("") {
        let name = name(&path);
        if name.starts_with('.') || TOP.contains(&name) || (name != "Cargo.lock" && is_left_over(name)) {
            continue;
        }
        panic!("{name} stands at the top: put it below src, layers, config, tests, benches or examples");
    }
    for name in TOP {
        assert!(root().join(name).exists(), "{name} is gone: take it off this list");
        assert!(
            name == "README.md" || map.contains(&format!("`{name}`")),
            "the README's map says nothing about {name}"
        );
    }
}

#[test]
fn a_file_has_one_idea() {
    for path in sources() {
        let lines = text(&path).lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines: split it where its ideas part", path.display());
    }
}

#[test]
fn a_layer_introduces_itself_by_its_shape() {
    for layer in layers() {
        let lines = introduction(&layer);
        let (shape, what) = lines[0].split_once(": ").unwrap_or_default();
        assert!(["Stamp", "Gate", "Errand", "Watch"].contains(&shape), "{}: {:?}", layer.display(), lines[0]);
        assert!(what.starts_with(|c: char| c.is_lowercase()) && what.ends_with('.'), "{}: {what:?}", layer.display());
        // Then, in a list: what it needs, leaves and refuses.
        for word in ["needs", "leaves", "refuses"] {
            let told = lines.iter().any(|line| line.to_lowercase().starts_with(&format!("- **{word}**")));
            assert!(told, "{} does not say what it {word}", layer.display());
        }
    }
}

#[test]
fn a_layer_shows_a_use_of_itself_that_runs() {
    for layer in layers() {
        let lines = introduction(&layer);
        let fences: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("```")).collect();
        // A bare fence opens what `cargo test` compiles and runs.
        assert!(fences.len() >= 2 && fences.iter().all(|kind| kind.is_empty()), "{}: {fences:?}", layer.display());
        let folder = name(&layer);
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("use gateway_{folder}::"))),
            "{}: the example uses something else",
            layer.display()
        );
    }
}
