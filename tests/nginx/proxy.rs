//! An NGINX of a test's own.

use crate::{
    rabbit::run,
    support::{PATIENCE, Port},
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Behind which path the gateways are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mount {
    /// `gateway-root.conf`: a server with TLS.
    Root,
    /// `gateway-prefix.conf`, in a server without.
    Prefix,
}

/// Dropped, it is stopped, and its directory removed.
pub(crate) struct Nginx {
    directory: TempDir,
    /// Stops the server when our end of its standard input is closed: by `drop`, or because this process is gone.
    guard: Child,
    /// Plain HTTP, and TLS where there is any.
    ports: [Port; 2],
}

impl Nginx {
    /// In front of these two.
    pub(crate) fn start(mount: Mount, gateways: [SocketAddr; 2]) -> Self {
        let directory = TempDir::with_prefix("sg-test-nginx-").unwrap();
        let here = directory.path();
        control("certificate", here);
        let ports = [Port::hold(), Port::hold()];
        let numbers = ports.each_ref().map(|port| port.address().port());
        let used = if mount == Mount::Root { 2 } else { 1 };
        write_configuration(here, mount, gateways, numbers);
        let told: String = numbers[..used].iter().map(|port| format!("{port}\n")).collect();
        fs::write(here.join("ports"), told).unwrap();
        // A group of its own: what ends the tests must not end it before it has ended the server.
        let mut guard = Command::new("sh");
        guard.args(["-c", "read -r _; exec \"$0\" stop \"$1\""]).arg(script()).arg(here);
        std::os::unix::process::CommandExt::process_group(&mut guard, 0);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        control("start", here);
        Self { directory, guard, ports }
    }

    /// `http://127.0.0.1:PORT`, and the prefix if there is one.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.ports[0].address())
    }

    /// `https://localhost:PORT`
    pub(crate) fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.ports[1].address().port())
    }

    /// The log of requests, once it holds `text`.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }

    /// What it complained of.
    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn control(word: &str, directory: &Path) {
    let output = run(Command::new(script()).arg(word).arg(directory), PATIENCE);
    assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/nginx.sh")
}

/// The shipped files with our addresses in them: a place that is not found is a fault of this test.
fn write_configuration(here: &Path, mount: Mount, gateways: [SocketAddr; 2], ports: [u16; 2]) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/nginx");
    let put = |name: &str, changes: &[(&str, String)]| {
        let mut text = fs::read_to_string(shipped.join(name)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{name} has no {from:?}");
            text = text.replace(from, to);
        }
        fs::write(here.join(name), text).unwrap();
    };
    let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
    put(
        "gateway-http.conf",
        &[
            ("127.0.0.1:5000", gateways[0].to_string()),
            ("127.0.0.1:5001", gateways[1].to_string()),
            ("rate=50r/s", "rate=100000r/s".into()),
        ],
    );
    put("gateway-proxy.conf", &[]);
    let server = match mount {
        Mount::Root => {
            put(
                "gateway-root.conf",
                &[
                    ("listen 80;", format!("listen 127.0.0.1:{};", ports[0])),
                    ("listen 443 ssl;", format!("listen 127.0.0.1:{} ssl;", ports[1])),
                    ("/etc/ssl/certs/gateway.example.org.pem", path("tls.pem")),
                    ("/etc/ssl/private/gateway.example.org.key", path("tls.key")),
                    ("/var/log/nginx/gateway.log", path("access.log")),
                ],
            );
            "include gateway-root.conf;".to_owned()
        }
        Mount::Prefix => {
            put("gateway-prefix.conf", &[]);
            let listen = ports[0];
            format!(
                "server {{ listen 127.0.0.1:{listen}; include gateway-prefix.conf; location / {{ return 200 host; }} }}"
            )
        }
    };
    let here = here.to_str().unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .collect();
    let conf = format!(
        "pid {here}/nginx.pid;\nerror_log {here}/error.log info;\nworker_processes 2;\nevents {{ worker_connections 512; }}\n\
         http {{\n{temporary}include gateway-http.conf;\naccess_log {here}/access.log gateway;\n{server}\n}}\n"
    );
    fs::write(Path::new(here).join("nginx.conf"), conf).unwrap();
}
