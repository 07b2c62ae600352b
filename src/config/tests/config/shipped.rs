use crate::{KEY, read, read_with};
use figment::{
    providers::{Format, Toml},
    value::{Dict, Value},
};
use gateway_config::{Config, Secret, Service, keys};
use std::{collections::BTreeSet, fmt::Write};

fn shipped() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/gateway.toml")).unwrap()
}

/// The same with the example's lines in use: those whose `#` is followed by no space.
fn uncommented() -> String {
    let mut text = String::new();
    for line in shipped().lines() {
        let setting = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_alphabetic()));
        writeln!(text, "{}", setting.unwrap_or(line)).unwrap();
    }
    text
}

/// The paths of everything in `tree` that the schema calls a value.
fn leaves(tree: &Dict, path: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    for (name, value) in tree {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Dict(_, below) if !known.contains(&path) => leaves(below, &path, known, found),
            _ => {
                found.insert(path);
            }
        }
    }
}

fn leaves_of(text: &str) -> BTreeSet<String> {
    let known = keys().into_iter().map(|key| key.replace("services.*", "services.stub")).collect();
    let mut found = BTreeSet::new();
    leaves(&Toml::from_str::<Dict>(text).unwrap(), "", &known, &mut found);
    found
}

#[test]
fn it_asks_for_a_key_and_nothing_else() {
    let faults = read(&shipped()).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults}");
    assert_eq!(faults.iter().next().unwrap().key, "auth.key");
}

#[test]
fn it_is_the_defaults() {
    let loaded = read_with(&shipped(), &[("GATEWAY_AUTH__KEY", KEY)]).unwrap();
    let mut config = loaded.config;
    config.auth.key = Secret::default();
    assert_eq!(config, Config::default());
    assert_eq!(loaded.warnings, ["gateway.toml: services: there is no service: add a table [services.NAME]"]);
}

#[test]
fn every_key_is_in_it_and_none_beside() {
    let known: BTreeSet<String> = keys().into_iter().map(|key| key.replace("services.*", "services.stub")).collect();
    assert!(known.len() > 100, "the schema is walked");
    assert_eq!(leaves_of(&uncommented()), known);
    let general = known.into_iter().filter(|key| !key.starts_with("services.")).collect();
    assert_eq!(leaves_of(&shipped()), general, "the example is commented out, everything else is not");
}

#[test]
fn the_example_loads() {
    let loaded = read_with(&uncommented(), &[("GATEWAY_AUTH__KEY", KEY)]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let stub = &loaded.config.services["stub"];
    assert_eq!(stub.worker.as_ref().unwrap().command, ["sha256sum", "{document}"]);
    assert_eq!(stub.errors["ModelNotLoaded"], 650);
}

/// An example that is not the default says in its comment, or its table's, what the default is.
#[test]
fn the_example_tells_the_defaults() {
    let text = uncommented();
    let tree = Toml::from_str::<Dict>(&text).unwrap();
    let mut config = Config::default();
    let stub = Service { worker: Some(Default::default()), ..Service::default() };
    config.services.insert("stub".to_owned(), stub);
    let defaults = serde_json::to_value(config.completed()).unwrap();
    let mut told = 0;
    for key in keys().into_iter().filter(|key| key.starts_with("services.*.")) {
        let key = key.replace("services.*", "services.stub");
        let default = key.split('.').fold(&defaults, |value, name| &value[name]);
        let written = Value::from(tree.clone()).find(&key).unwrap();
        let written: serde_json::Value = serde_json::to_value(&written).unwrap();
        // Durations are shown in their largest unit: 60s as 1m.
        if *default == written || (default == "1m" && written == "60s") {
            continue;
        }
        told += 1;
        let (table, name) = key.rsplit_once('.').unwrap();
        let header = comment_above(&text, &format!("[{table}]"));
        let own = comment_above(&text, &format!("{name} = "));
        let empty =
            *default == serde_json::json!("") || *default == serde_json::json!([]) || *default == serde_json::json!({});
        let general = empty && (header.contains("ll empty by default") || header.contains("All empty"));
        let whole_table = comment_above(&text, &format!("[{key}]")).contains("All empty by default");
        assert!(general || whole_table || own.contains(&format!("Default: {default}")), "{key}: default is {default}");
    }
    assert!(told > 10, "the examples were compared");
}

/// The comment over the last line that begins so.
fn comment_above(text: &str, start: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().rposition(|line| line.starts_with(start)) else { return String::new() };
    lines[..at].iter().rev().take_while(|line| line.starts_with('#')).copied().collect::<Vec<_>>().join(" ")
}
