use crate::{faults, read};
use gateway_config::{Argument, PageSource, Size, StoreUrl, load};
use std::{path::Path, time::Duration};

#[test]
fn a_file_that_is_not_there_is_named() {
    let faults = load(Some(Path::new("/no/such/gateway.toml")), [], &[]).unwrap_err();
    assert_eq!(faults.to_string(), "/no/such/gateway.toml: there is no such file");
}

#[test]
fn a_file_is_read_and_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    std::fs::write(&path, "[auth]\nmode = \"none\"\n").unwrap();
    let loaded = load(Some(&path), [], &[]).unwrap();
    assert_eq!(loaded.file.as_deref(), Some(path.as_path()));
    assert!(load(Some(directory.path()), [], &[]).is_err(), "a directory is no file");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(load(Some(&path), [], &[]).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn toml_faults_tell_line_and_column() {
    let told = read("[server]\nlisten = \"127.0.0.1:1\"\n  max_body = = 3\n").unwrap_err().to_string();
    assert!(told.starts_with("gateway.toml: line 3, column 14: "), "{told}");
    let told = read("[server]\n[server]\n").unwrap_err().to_string();
    assert!(told.starts_with("gateway.toml: line 2, column 1: "), "{told}");
}

#[test]
fn every_fault_is_told_at_once() {
    let told = faults(
        "telemetrie.log = \"info\"\n[server]\nlistn = \"x\"\nlisten = 5\nmax_body = \"much\"\nheader_timeout = 10\n\
         max_concurrency = -1\n[broker]\ntask_protocol = 3\n[documents]\nallow_private_networks = \"yes\"\n\
         schemes = \"http\"\n[services.a.worker]\n[services.b]\nroute = 1.5\n[services.b.scaling]\nspawn_ratio = \"x\"\n",
    );
    for line in [
        "gateway.toml: telemetrie: unknown key: did you mean `telemetry`?",
        "gateway.toml: server.listn: unknown key: did you mean `server.listen`?",
        "gateway.toml: server.listen: expected an address and port",
        "gateway.toml: server.max_body: \"much\": expected a size",
        "gateway.toml: server.header_timeout: expected a duration with its unit, such as \"10s\", found a number",
        "gateway.toml: server.max_concurrency: expected a whole number from 0 to 4294967295, found -1",
        "gateway.toml: broker.task_protocol: 3: expected 2, or 1 for Celery 3.1",
        "gateway.toml: documents.allow_private_networks: expected true or false, found text",
        "gateway.toml: documents.schemes: expected a list, found text",
        "gateway.toml: services.a.worker.command: expected a program and its arguments",
        "gateway.toml: services.b.route: expected a text, found a number",
        "gateway.toml: services.b.scaling.spawn_ratio: expected a number, found text",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
    assert_eq!(told.lines().count(), 12, "{told}");
}

#[test]
fn unknown_keys_are_told_what_was_meant() {
    for (text, meant) in [
        ("[srver]\nlisten = 1", "srver: unknown key: did you mean `server`?"),
        ("listen = \"127.0.0.1:1\"", "listen: unknown key: did you mean `server.listen`?"),
        ("[store]\nlisten = \"127.0.0.1:1\"", "store.listen: unknown key: did you mean `server.listen`?"),
        (
            "[services.stub]\nconcurrency = 1",
            "services.stub.concurrency: unknown key: did you mean `services.stub.worker.concurrency`?",
        ),
        (
            "[services.stub.worker]\ncommand = [\"a\"]\ncomand = 1",
            "services.stub.worker.comand: unknown key: did you mean `services.stub.worker.command`?",
        ),
        ("[annotations]\ncolour = 1", "annotations.colour: unknown key; known here: post_url"),
        ("[services.\"a b\"]\ntsk = 1", "services.\"a b\".tsk: unknown key: did you mean `services.\"a b\".task`?"),
    ] {
        assert!(faults(text).contains(meant), "{}", faults(text));
    }
}

#[test]
fn tables_and_values_are_not_confused() {
    assert!(faults("server = 5").contains("server: expected a table, found a number"));
    assert!(faults("server = 2026-01-01").contains("server: expected a table, found a date"));
    assert!(faults("[services]\nstub = \"x\"").contains("services.stub: expected a table, found text"));
    assert!(faults("[server.listen]\na = 1").contains("server.listen: expected an address"));
    assert!(faults("[documents]\nschemes = [\"http\", 5, [1]]").contains("documents.schemes[1]: expected a text"));
    assert!(faults("[documents]\nschemes = [\"http\", 5, [1]]").contains("documents.schemes[2]: expected a text"));
}

#[test]
fn one_fault_does_not_make_another() {
    // `mode` falls back to jwt, which would ask for a key; `keep_results` to 2h, which is longer than 1h.
    let told = read("[auth]\nmode = \"jtw\"\n").unwrap_err().to_string();
    assert_eq!(told, "gateway.toml: auth.mode: \"jtw\": expected one of `jwt` `none`: did you mean `jwt`?");
}

#[test]
fn values_of_every_kind() {
    let loaded = read(
        "[auth]\nmode = \"none\"\n[server]\nmax_body = 77\npublic_url = \"https://example.org/g/\"\n\
         [store]\nurl = \"sqlite::memory:\"\nkeep_results = \"1h30m\"\n\
         [documents]\nschemes = [\"HTTPS\"]\nallow_hosts = [\"Files.Local\", \"[::1]\"]\n\
         [services.Stub]\nwait_limit = \"\"\nrun_limit = \"\"\nqueue_arguments = { a = \"b\", x-max-priority = 10, c = true }\n\
         [services.Stub.about]\nrelease_time = 2026-01-01T00:00:00Z\ntags = [\" a \", \"b\"]\n\
         [services.Stub.pages]\nsource = \",204\"\nhome = \"\"\n\
         [services.Stub.worker]\ncommand = [\"true\"]\nprogress = '(\\d+)%'\n",
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.server.max_body, Size::of(77));
    assert_eq!(config.server.public_url.unwrap().as_str(), "https://example.org/g");
    assert_eq!(config.store.url, StoreUrl::SqliteMemory);
    assert_eq!(config.store.keep_results, Duration::from_secs(5400));
    assert_eq!(config.documents.schemes, ["https"]);
    assert_eq!(config.documents.allow_hosts, ["files.local", "[::1]"]);
    let stub = &config.services["Stub"];
    assert_eq!((stub.route.as_str(), stub.task.as_str(), stub.queue.as_str()), ("Stub", "Stub", "Stub"));
    assert_eq!((stub.wait_limit, stub.run_limit), (None, None));
    assert_eq!(stub.queue_arguments["a"], Argument::Text("b".to_owned()));
    assert_eq!(stub.queue_arguments["x-max-priority"], Argument::Int(10));
    assert_eq!(stub.queue_arguments["c"], Argument::Flag(true));
    assert_eq!(stub.about.release_time, "2026-01-01T00:00:00Z");
    assert_eq!(stub.about.tags, ["a", "b"]);
    assert_eq!(stub.pages.source, Some(PageSource::Text { text: String::new(), status: 204 }));
    assert_eq!(stub.pages.home, None);
    let worker = stub.worker.as_ref().unwrap();
    assert!(worker.progress.as_ref().unwrap().regex().is_match("50%"));
}

#[test]
fn an_empty_service_is_a_service() {
    let loaded = read("[auth]\nmode = \"none\"\n[services.stub]\n").unwrap();
    assert_eq!(loaded.config.services["stub"].route, "stub");
    assert!(loaded.warnings[0].starts_with("gateway.toml: services.stub: no [worker]"), "{:?}", loaded.warnings);
}
