//! What the documents say is so.

use crate::{root, text};
use service_gateway::config;
use std::path::Path;

/// A key as one may have it: 64 bytes.
fn environment() -> Vec<(String, String)> {
    use base64::Engine;
    let key = base64::engine::general_purpose::STANDARD.encode([7; 64]);
    vec![("GATEWAY_AUTH__KEY".to_owned(), key)]
}

/// The blocks of that language in a Markdown text.
fn blocks<'a>(markdown: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    markdown.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The headings of a Markdown file, as links name them.
fn headings(file: &str) -> impl Iterator<Item = String> {
    let headings = text(file);
    let headings: Vec<_> = headings.lines().filter_map(|line| line.strip_prefix('#')).map(slug).collect();
    headings.into_iter()
}

fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_shipped_configuration_loads() {
    let loaded = config::load(Some(&root().join("config/gateway.toml")), environment(), &[]).unwrap();
    assert_eq!(loaded.config.server.listen.port(), 5000);
}

#[test]
fn the_readme_s_configurations_load() {
    let readme = text("README.md");
    let complete: Vec<_> = blocks(&readme, "toml");
    assert!(complete.len() >= 2, "the README shows a configuration for either broker");
    for (number, block) in complete.iter().enumerate() {
        let loaded = config::parse(Some((Path::new("README.md"), block)), environment(), &[]);
        let loaded = loaded.unwrap_or_else(|faults| panic!("block {number}:\n{faults}"));
        assert!(loaded.warnings.is_empty(), "block {number}: {:?}", loaded.warnings);
        assert!(!loaded.config.services.is_empty(), "block {number} has no service");
    }
}

#[test]
fn what_the_documents_point_at_is_there() {
    for document in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = text(document);
        let code = text.split('`').skip(1).step_by(2);
        let folders = ["src/", "layers/", "config/", "tests/", "benches/", "examples/", ".ci/"];
        let paths: Vec<_> = code.filter(|it| folders.iter().any(|folder| it.starts_with(folder))).collect();
        assert!(document == "CHANGELOG.md" || !paths.is_empty(), "{document} points at nothing");
        for path in paths.iter().filter(|path| !path.contains(['X', '<', '*', ' '])) {
            assert!(root().join(path).exists(), "{document} points at {path}");
        }
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { document } else { file };
            assert!(root().join(file).exists(), "{document} links to {link}");
            let known = heading.is_empty() || headings(file).any(|known| known == heading);
            assert!(known, "{document} links to {link}, and there is no such heading");
        }
    }
}
