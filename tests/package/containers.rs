//! Dockerfile and compose file: as far as a machine without containers can tell.

use crate::{
    rabbit::{rig, run},
    said,
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(200);
const PROGRAM: &str = env!("CARGO_BIN_EXE_service-gateway");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the compose file, copied; with the files beside it that it hands out.
fn folder() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(root().join("config")).arg(directory.path());
    said(&run(&mut copy, PATIENCE));
    let folder = directory.path().join("config/docker");
    let _ = fs::remove_file(folder.join(".env")); // of somebody who uses it here
    (directory, folder)
}

fn compose(folder: &Path) -> Output {
    let mut compose = Command::new(rig("SG_TEST_COMPOSE"));
    run(compose.args(["config", "--format", "json"]).current_dir(folder), PATIENCE)
}

/// The compose file as Docker Compose understands it.
fn understood(folder: &Path) -> Value {
    said(&run(&mut Command::new(folder.join("secrets.sh")), PATIENCE));
    serde_json::from_str(&said(&compose(folder))).unwrap()
}

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().unwrap()
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let mut lint = Command::new(rig("SG_TEST_HADOLINT"));
    let output = said(&run(lint.arg(root().join("config/docker/Dockerfile")), PATIENCE));
    assert_eq!(output, "");
}

#[test]
fn the_steps_of_the_image_do_as_plain_commands() {
    let program = Path::new(PROGRAM);
    let program = program.strip_prefix(root()).map_or(program.to_owned(), |inside| Path::new("/input").join(inside));
    let mut steps = Command::new(root().join("tests/package/throwaway.sh"));
    steps.arg(root()).args(["python3", "/input/tests/package/image.py", "/input"]);
    steps.args(["/input/config/docker/Dockerfile", "gateway"]).env("SG_PROGRAM", program);
    // It may write where its volume is, and needs no library that the base image has not got.
    steps.env("SG_THEN", "id -u; touch /data/x; ldd /usr/bin/service-gateway | sed 's/^[[:space:]]*//; s/[ .].*//'");
    let output = said(&run(&mut steps, PATIENCE));
    let after: Vec<_> = output.lines().skip_while(|line| !line.starts_with("service-gateway ")).skip(1).collect();
    let [user, libraries @ ..] = after.as_slice() else { panic!("{output}") };
    assert_eq!(*user, "65532", "not root: {output}");
    let base = ["linux-vdso", "libgcc_s", "libm", "libc", "libdl", "libpthread", "librt", "/lib64/ld-linux-x86-64"];
    assert!(
        libraries.len() >= 3 && libraries.iter().all(|it| base.contains(it) || it.contains("ld-linux")),
        "{output}"
    );
}

#[test]
fn compose_is_told_its_secrets_and_shows_little_to_the_outside() {
    let (directory, folder) = folder();
    let refused = compose(&folder);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("run ./secrets.sh first"), "{why}");

    let all = understood(&folder);
    let env = fs::read_to_string(folder.join(".env")).unwrap();
    assert_eq!(env.lines().count(), 4, "{env}");
    said(&run(&mut Command::new(folder.join("secrets.sh")), PATIENCE));
    assert_eq!(fs::read_to_string(folder.join(".env")).unwrap(), env, "made once");

    let names: BTreeSet<_> = services(&all).keys().map(String::as_str).collect();
    let expected = "gateway-1 gateway-2 grafana nginx otel-collector postgres prometheus rabbitmq worker";
    assert_eq!(names.into_iter().collect::<Vec<_>>().join(" "), expected);
    for (name, service) in services(&all) {
        let image = service["image"].as_str().unwrap();
        let built = service.get("build").is_some();
        assert!(built || (image.contains(':') && !image.ends_with(":latest")), "{name}: {image}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name} is open to everybody: {port}");
        }
        // What starts as root to give its volume to its user needs the rights for that.
        let confined = service["read_only"] == true && service["cap_drop"][0] == "ALL";
        assert!(confined || ["rabbitmq", "postgres"].contains(&name.as_str()), "{name}");
        for volume in service["volumes"].as_array().into_iter().flatten().filter(|volume| volume["type"] == "bind") {
            let inside = Path::new(volume["source"].as_str().unwrap()).strip_prefix(directory.path()).unwrap();
            assert!(root().join(inside).exists(), "{name}: {volume}");
        }
    }
    for (name, config) in all["configs"].as_object().unwrap() {
        let file = config["file"].as_str().unwrap();
        assert!(Path::new(file).is_file(), "{name}: {file}");
    }
}

/// The environment that a service of the compose file gets.
fn environment(service: &Value) -> impl Iterator<Item = (&str, &str)> {
    service["environment"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
}

#[test]
fn gateways_and_workers_have_a_configuration_without_faults() {
    let (_directory, folder) = folder();
    let all = understood(&folder);
    for name in ["gateway-1", "gateway-2"] {
        let mut check = Command::new(PROGRAM);
        check.args(["check", "--config", "gateway.toml"]).current_dir(&folder);
        let checked = said(&run(check.envs(environment(&all["services"][name])), PATIENCE));
        assert!(checked.contains("no faults, 3 service(s), 0 warning(s)"), "{checked}");
    }
    // A worker reads its configuration first, and then which services it is for.
    let mut worker = Command::new(PROGRAM);
    worker.args(["worker", "--config", "gateway.toml", "nobody"]).current_dir(&folder);
    let output = run(worker.envs(environment(&all["services"]["worker"])), PATIENCE);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("no service \"nobody\" is configured; there are: faces, speech, transcode"), "{why}");
}

#[test]
fn what_the_containers_are_given_names_only_containers() {
    let (directory, folder) = folder();
    let all = understood(&folder);
    let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    for file in
        ["nginx.conf", "prometheus.yml", "otel-collector.yaml", "grafana-datasources.yaml", "grafana-dashboards.yaml"]
    {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let text: Vec<_> = text.lines().map(|line| line.split('#').next().unwrap()).collect();
        let text = text.join("\n");
        // host:port, wherever it stands
        for (at, _) in text.match_indices(':') {
            let port: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
            let host = text[..at].rsplit(|c| !name(c)).next().unwrap();
            let known = services(&all).contains_key(host) || host == "0.0.0.0";
            assert!(port.len() < 4 || host.is_empty() || known, "{file}: {host}:{port}");
        }
    }
    // NGINX asks for the addresses of its upstreams when it reads its file.
    let conf = fs::read_to_string(folder.join("nginx.conf")).unwrap();
    let conf = conf.replace("gateway-1:5000", "127.0.0.1:5001").replace("gateway-2:5000", "127.0.0.1:5002");
    let whole = format!("pid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{conf}\n}}\n");
    let file = directory.path().join("nginx.conf");
    fs::write(&file, whole).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()));
    nginx.arg("-t").arg("-p").arg(directory.path()).arg("-c").arg(&file);
    said(&run(&mut nginx, PATIENCE));
}
