use crate::{read, read_with};
use gateway_config::{BrokerUrl, load};

const OPEN: &str = "[auth]\nmode = \"none\"\n";
const CANARY: &str = "c2VjcmV0Y2FuYXJ5";

#[test]
fn a_configuration_shows_no_secret() {
    let text = format!(
        "[auth]\nkey = \"{CANARY}\"\nshared_key = \"{CANARY}\"\nalgorithms = [\"HS256\"]\n\
         [broker]\nurl = \"amqp://me:{CANARY}@host:5672/v\"\n\
         [documents]\nget_url = \"http://me:{CANARY}@host/{{storage_doc_id}}?token={CANARY}\"\n\
         [services.a.pages]\nhome = \"https://host/?token={CANARY}\"\n"
    );
    let loaded = read(&text).unwrap();
    assert_eq!(loaded.config.auth.key.expose(), CANARY);
    let shown = format!("{loaded:?} {loaded:#?} {}", serde_json::to_string(&loaded.config).unwrap());
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("amqp://me:***@host:5672/v"), "the rest of the URL is shown");
    assert!(!loaded.warnings.is_empty() && !loaded.warnings.join("").contains(CANARY));
}

#[test]
fn no_fault_quotes_a_secret() {
    for wrong in [
        // not base64
        format!("[auth]\nkey = \"{CANARY}!\""),
        // wrong types
        format!("[auth]\nkey = [\"{CANARY}\"]"),
        format!("[auth]\nshared_key = {{ a = \"{CANARY}\" }}"),
        // not URLs
        format!("[broker]\nurl = \"amqp://me:{CANARY}@\""),
        format!("[broker]\nurl = \"amqp://me:{CANARY}/@host\""),
        format!("[broker]\nurl = \"{CANARY}://host\""),
        format!("[broker]\nurl = \"{CANARY}\""),
        format!("[broker]\nresult_backend = \"http://:{CANARY}@host\""),
        format!("[broker]\nresult_backend = \"redis://:{CANARY}@host\""),
        format!("[store]\nurl = \"postgres://me:{CANARY}@host/db\""),
        format!("[store]\nurl = \"postgres:me:{CANARY}\""),
        format!("[store]\nurl = \"sqlite:x?key={CANARY}\""),
        format!("[server]\npublic_url = \"https://me:{CANARY}@host/\""),
        format!("[documents]\nget_url = \"https://me:{CANARY}@host/\""),
        format!("[documents]\nupload_url = \"ftp://me:{CANARY}@host/\""),
        // broken TOML: the parser would quote the line
        format!("[auth]\nkey = \"{CANARY}\n"),
        format!("[auth]\nkey = {CANARY}\n"),
        format!("[auth]\nkey = \"\"\"{CANARY}"),
        format!("[auth]\nkey = \"{CANARY}\" \"{CANARY}\"\n"),
        format!("[auth]\nkey = \"\\{CANARY}\"\n"),
        // secrets where a reference is expected
        format!("[auth]\nkey = \"env:{CANARY}\""),
        format!("[auth]\nkey = \"env:{CANARY}+/==\""),
    ] {
        let faults = read(&wrong).unwrap_err();
        let told = format!("{faults} {faults:?}");
        assert!(!told.contains(CANARY), "{wrong}\n{told}");
    }
}

#[test]
fn from_the_environment() {
    let text = "[auth]\nmode = \"none\"\nshared_key = \"env:MY_KEY\"\n[broker]\nurl = \"env:BROKER\"\n";
    let loaded = read_with(text, &[("MY_KEY", "0012"), ("BROKER", "amqp://u:p@h/v")]).unwrap();
    assert_eq!(loaded.config.auth.shared_key.expose(), "0012");
    assert!(matches!(loaded.config.broker.url, BrokerUrl::Amqp(url) if url.expose() == "amqp://u:p@h/v"));
    let told = read_with(text, &[("BROKER", "")]).unwrap_err().to_string();
    assert!(told.contains("auth.shared_key: the environment variable `MY_KEY` is not set"), "{told}");
    assert!(told.contains("broker.url: the environment variable `BROKER` is empty"), "{told}");
    let told = read_with(text, &[("BROKER", "embedded"), ("MY_KEY", "\u{fffd}")]).unwrap_err().to_string();
    assert!(told.contains("`MY_KEY` is not UTF-8"), "{told}");
}

#[test]
fn from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let config = directory.path().join("gateway.toml");
    std::fs::write(&config, format!("{OPEN}shared_key = 'file:{}'\n", path.display())).unwrap();

    let told = load(Some(&config), [], &[]).unwrap_err().to_string();
    assert!(told.contains("auth.shared_key: cannot read the file") && told.contains("key"), "{told}");
    std::fs::write(&path, "\n").unwrap();
    assert!(load(Some(&config), [], &[]).unwrap_err().to_string().contains("is empty"));
    std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
    assert!(load(Some(&config), [], &[]).unwrap_err().to_string().contains("longer than 65536 bytes"));
    std::fs::write(&path, format!("{CANARY} \r\n")).unwrap();
    let loaded = load(Some(&config), [], &[]).unwrap();
    assert_eq!(loaded.config.auth.shared_key.expose(), format!("{CANARY} "), "only line ends are trimmed");
}

#[test]
fn numbers_are_secrets_too() {
    let loaded = read(&format!("{OPEN}shared_key = 123456\n")).unwrap();
    assert_eq!(loaded.config.auth.shared_key.expose(), "123456");
}
