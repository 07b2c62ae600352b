//! `service-gateway serve` as a process of its own: what it takes is told by the system.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

/// A gateway that is killed when dropped.
pub(crate) struct Program {
    directory: TempDir,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts one with this configuration and these variables, in a directory of its own; waits until it serves.
    pub(crate) fn start(toml: &str, variables: &[(&str, &str)]) -> Fallible<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        std::fs::write(directory.path().join("gateway.toml"), toml)?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let child = Command::new(env!("CARGO_BIN_EXE_service-gateway"))
            .args(["serve", "--config", "gateway.toml", "--listen", &address.to_string()])
            .current_dir(directory.path())
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log"))?)
            .spawn()?;
        let mut program = Self { directory, child, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        #[allow(clippy::disallowed_methods)] // it sleeps where no runtime is
        while program.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").is_err() {
            if let Some(end) = program.child.try_wait()? {
                return Err(format!("the gateway ended: {end}").into());
            }
            if Instant::now() > deadline {
                return Err("the gateway does not serve".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(program)
    }

    /// Its current directory, with its configuration.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One request, the body of its answer.
    pub(crate) fn ask(&self, request: &[u8]) -> Fallible<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let line = request.windows(2).position(|two| two == b"\r\n").ok_or("no request")? + 2;
        stream.write_all(&[&request[..line], b"Connection: close\r\n", &request[line..]].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no answer")?;
        Ok(answer.split_off(head + 4))
    }

    /// Processor time that it took until now.
    pub(crate) fn taken(&self) -> Fallible<Duration> {
        // utime and stime are the 12th and 13th field after the name in parentheses, in ticks of 10 ms (proc(5)).
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum::<u64>();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Its memory that is in RAM, in MiB.
    pub(crate) fn resident(&self) -> Fallible<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().next().ok_or("no number")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
