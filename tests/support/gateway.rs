//! The program under test, as a process.

use super::{PATIENCE, Port, processes_with, signal, until};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_service-gateway");

/// A key of 64 bytes in base64, for `auth.key`.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==";

/// A section `[auth]` with [`KEY`]: tokens are asked for.
pub(crate) const AUTH: &str =
    "[auth]\nkey = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\"\n";

/// `service-gateway serve`, running in a temporary directory of its own (its current directory), where the
/// configuration (`gateway.toml`), the log (`log`) and, by default, the store are.
///
/// Dropped, it is killed, and the directory is removed; when the test panics the directory is kept and its path told.
pub(crate) struct Gateway {
    directory: Option<TempDir>,
    child: Child,
    /// Where it was told to listen.
    listen: SocketAddr,
    /// While it is away nobody else answers there.
    _port: Option<Port>,
    address: SocketAddr,
}

impl Gateway {
    /// Starts a gateway with this configuration and waits until it serves. `@DIR@` in it becomes the directory.
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(toml, |_| {})
    }

    /// As [`Gateway::start`], with a word about the process: its environment, say.
    pub(crate) fn start_with(toml: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let port = Port::hold();
        Self::begin(toml, port.address(), Some(port), adjust)
    }

    /// As [`Gateway::start`], at this address.
    pub(crate) fn start_at(toml: &str, listen: SocketAddr) -> Self {
        Self::begin(toml, listen, None, |_| {})
    }

    fn begin(toml: &str, listen: SocketAddr, port: Option<Port>, adjust: impl FnOnce(&mut Command)) -> Self {
        let directory = TempDir::with_prefix("sg-test-").unwrap();
        let path = directory.path().to_str().expect("temporary directories have UTF-8 names");
        fs::write(directory.path().join("gateway.toml"), toml.replace("@DIR@", path)).unwrap();
        let mut child = spawn(directory.path(), listen, adjust);
        match serving(&mut child, directory.path(), 0) {
            Ok(address) => Self { directory: Some(directory), child, listen, _port: port, address },
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the gateway does not serve: {why}; see {}", directory.keep().display());
            }
        }
    }

    /// `http://127.0.0.1:PORT`; the same after a restart.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().expect("taken by drop alone").path()
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory().join("gateway.toml")
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Sends SIGTERM and returns at once.
    pub(crate) fn terminate(&self) {
        signal(self.pid(), "TERM");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until(PATIENCE, "the gateway ends", || self.child.try_wait().unwrap())
    }

    /// Starts it again with the same configuration in the same directory, once the last process has ended.
    pub(crate) fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|why| panic!("restarted: {why}"));
    }

    /// As [`Gateway::restart`]; an `Err` says why the new process ended without serving.
    pub(crate) fn try_restart(&mut self) -> Result<(), String> {
        assert!(self.child.try_wait().unwrap().is_some(), "the last process has not ended: stop it first");
        let from = self.log().len();
        self.child = spawn(self.directory(), self.listen, |_| {});
        let directory = self.directory().to_owned();
        self.address = serving(&mut self.child, &directory, from)?;
        Ok(())
    }

    /// SIGTERM, its end with exit code 0, and a start.
    pub(crate) fn stop_and_start(&mut self) {
        self.terminate();
        assert_eq!(self.wait().code(), Some(0), "{}", self.log());
        self.restart();
    }

    /// Throws away what it logged, for a test of many lives. It must have ended.
    pub(crate) fn forget_log(&self) {
        fs::write(self.directory().join("log"), "").unwrap();
    }

    /// What it logged, in all its lives.
    pub(crate) fn log(&self) -> String {
        read_log(self.directory())
    }

    /// A token that it admits: `service-gateway token --config … [arguments]`.
    pub(crate) fn token(&self, arguments: &[&str]) -> String {
        let config = self.config();
        let mut all = vec!["token", "--config", config.to_str().unwrap()];
        all.extend(arguments);
        let output = cli(self.directory(), &all);
        assert_eq!(output.code, 0, "{}", output.stderr);
        output.stdout.trim_end().to_owned()
    }

    /// The environment variable that every program it started carries: `SERVICE_GATEWAY_RUN=<a run directory of its>`.
    pub(crate) fn mark(&self) -> String {
        mark(self.directory())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already, or it is now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let Some(directory) = self.directory.take() else { return };
        if std::thread::panicking() {
            let path = directory.keep();
            #[allow(clippy::print_stderr)] // to the person who reads the failure
            {
                eprintln!("kept for a look: {} (log: {})", path.display(), path.join("log").display());
            }
            return;
        }
        // Guards end what they guard, and hold its directory until then.
        until(PATIENCE, "programs end with their gateway", || {
            processes_with(&mark(directory.path())).is_empty().then_some(())
        });
    }
}

fn mark(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap();
    format!("SERVICE_GATEWAY_RUN={}", directory.display())
}

/// Without what the caller's environment would set.
fn program(directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        let ours = ["GATEWAY_", "SERVICE_GATEWAY_", "RUST_LOG", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
        if ours.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

fn spawn(directory: &Path, listen: SocketAddr, adjust: impl FnOnce(&mut Command)) -> Child {
    let mut log = OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    writeln!(log, "--- started").unwrap();
    let mut command = program(directory);
    command.args(["serve", "--config", "gateway.toml", "--listen", &listen.to_string()]);
    command.stdout(Stdio::null()).stderr(log);
    adjust(&mut command);
    command.spawn().unwrap()
}

/// Whole lines: of the last one a part may be there.
fn read_log(directory: &Path) -> String {
    let mut log = String::from_utf8_lossy(&fs::read(directory.join("log")).unwrap_or_default()).into_owned();
    log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
    log
}

/// Waits for the line that tells the address; what was logged from byte `from` on counts.
fn serving(child: &mut Child, directory: &Path, from: usize) -> Result<SocketAddr, String> {
    until(PATIENCE, "the gateway serves", || {
        let log = read_log(directory);
        let told = log[from..].lines().find_map(address);
        match (told, child.try_wait().unwrap()) {
            (_, Some(end)) => Some(Err(format!("it ended ({end}) and said\n{}", &log[from..]))),
            (Some(address), None) => Some(Ok(address)),
            (None, None) => None,
        }
    })
}

/// `… serving address=127.0.0.1:1234 …`, in JSON `{…"message":"serving","address":"127.0.0.1:1234"…}`.
fn address(line: &str) -> Option<SocketAddr> {
    let line = without_colour(line);
    let (_, rest) = line.split_once("serving")?.1.split_once("address")?;
    let rest = rest.trim_start_matches(['=', '"', ':']);
    rest[..rest.find([' ', '"']).unwrap_or(rest.len())].parse().ok()
}

/// The line without what makes a terminal show it in colour (`serve --debug`).
fn without_colour(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect::<String>()
}

/// What a command of the program did.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code; a signal is -1.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `service-gateway ARGUMENTS` in a directory, to its end.
pub(crate) fn cli(directory: &Path, arguments: &[&str]) -> Output {
    cli_with(directory, arguments, |_| {})
}

/// As [`cli`], with a word about the process: its environment, say.
pub(crate) fn cli_with(directory: &Path, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Output {
    let mut command = program(directory);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    adjust(&mut command);
    let child = command.spawn().unwrap();
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    // A thread, for nobody else reads both pipes to their ends under a deadline.
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(PATIENCE) else {
        signal(pid, "KILL");
        panic!("not within {PATIENCE:?}: service-gateway {arguments:?}");
    };
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    Output { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
