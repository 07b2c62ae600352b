//! Who may know whom.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::LazyLock,
};

/// Crates that wait, or that speak to the outside: what is pure has none of them below it.
const WAITING: [&str; 13] = [
    "tokio",
    "mio",
    "async-io",
    "futures-executor",
    "hyper",
    "reqwest",
    "lapin",
    "rusqlite",
    "libsqlite3-sys",
    "tokio-postgres",
    "redis",
    "rustix",
    "socket2",
];

/// The packages of this build: by id, name and what they need when they run.
struct Graph {
    names: BTreeMap<String, String>,
    needs: BTreeMap<String, Vec<String>>,
    members: BTreeSet<String>,
    /// By a member's name, the names of all dependencies of any kind that it declares.
    declared: BTreeMap<String, BTreeSet<String>>,
}

static GRAPH: LazyLock<Graph> = LazyLock::new(Graph::read);

impl Graph {
    fn read() -> Self {
        // Without the network, and for this machine alone: other platforms' crates need not be here.
        let host = cargo(&["-vV"]);
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
        let arguments = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host];
        let metadata: Value = serde_json::from_str(&cargo(&arguments)).unwrap();

        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let packages = list(&metadata["packages"]);
        let names = packages.iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let declared = packages
            .iter()
            .filter(|package| members.contains(package["id"].as_str().unwrap()))
            .map(|package| {
                let all = list(&package["dependencies"]).iter().map(|dependency| text(&dependency["name"])).collect();
                (text(&package["name"]), all)
            })
            .collect();
        let needs = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let normal = list(&node["deps"])
                    .into_iter()
                    .filter(|dep| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()))
                    .map(|dep| text(&dep["pkg"]))
                    .collect();
                (text(&node["id"]), normal)
            })
            .collect();
        Self { names, needs, members, declared }
    }

    /// The members of the workspace, by name.
    fn members(&self) -> BTreeSet<&str> {
        self.members.iter().map(|id| &*self.names[id]).collect()
    }

    /// Every crate that is linked with `member`, without itself.
    fn below(&self, member: &str) -> BTreeSet<&str> {
        let start = self.members.iter().find(|id| self.names[*id] == member);
        let start = start.unwrap_or_else(|| panic!("no member is called {member}"));
        let (mut found, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(id) = open.pop() {
            for need in &self.needs[id] {
                if found.insert(&*self.names[need]) {
                    open.push(need);
                }
            }
        }
        found
    }
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(crate::root()).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates in `layers/`, without the words they share.
fn layers() -> Vec<String> {
    let folders = crate::entries("layers");
    let layers: Vec<_> = folders
        .iter()
        .map(|path| format!("gateway-{}", crate::name(path)))
        .filter(|it| it != "gateway-contract")
        .collect();
    assert!(layers.len() >= 9, "{layers:?}");
    layers
}

#[test]
fn a_layer_knows_the_words_and_no_other_layer() {
    let members = GRAPH.members();
    for layer in layers() {
        let known: Vec<_> =
            GRAPH.declared[&layer].iter().filter(|name| members.contains(name.as_str())).cloned().collect();
        assert_eq!(known, ["gateway-contract"], "{layer} (in tests, too)");
        let below: Vec<_> = GRAPH.below(&layer).intersection(&members).copied().collect();
        assert_eq!(below, ["gateway-contract"], "{layer}");
    }
}

#[test]
fn the_words_need_none_of_us() {
    assert_eq!(GRAPH.below("gateway-contract").intersection(&GRAPH.members()).count(), 0);
}

#[test]
fn a_layer_waits_for_nothing_by_itself() {
    // Time, sockets, files and databases stand behind the traits of the contract.
    for layer in layers() {
        let found: Vec<_> = WAITING.iter().filter(|it| GRAPH.below(&layer).contains(*it)).collect();
        assert!(found.is_empty(), "{layer} reaches {found:?}");
    }
}

#[test]
fn what_is_pure_reaches_nothing_that_waits() {
    for pure in ["gateway-life", "gateway-celery", "gateway-contract", "gateway-scaling"] {
        let found: Vec<_> = WAITING.iter().filter(|it| GRAPH.below(pure).contains(*it)).collect();
        assert!(found.is_empty(), "{pure} reaches {found:?}");
    }
    // The list is not a list of names that nobody has: the product reaches most of them.
    let product = GRAPH.below("service-gateway");
    assert!(["tokio", "hyper", "reqwest", "lapin", "rusqlite"].iter().all(|it| product.contains(it)));
}

#[test]
fn a_worker_compiles_without_the_gateway() {
    let below = GRAPH.below("gateway-worker");
    for heavy in ["service-gateway", "rusqlite", "libsqlite3-sys", "tokio-postgres", "redis", "clap", "axum"] {
        assert!(!below.contains(heavy), "gateway-worker reaches {heavy}");
    }
    let telemetry: Vec<_> = below.iter().filter(|name| name.starts_with("opentelemetry")).collect();
    assert!(telemetry.is_empty(), "gateway-worker reaches {telemetry:?}");
}

#[test]
fn nobody_below_knows_the_root() {
    for member in GRAPH.members().into_iter().filter(|it| *it != "service-gateway") {
        assert!(!GRAPH.below(member).contains("service-gateway"), "{member}");
    }
}
