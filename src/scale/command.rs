//! Workers that an operator's commands start, stop and list.

use gateway_config::ServiceScaling;
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// What is read of what it prints.
const LONGEST: u64 = 1 << 20;

pub(super) struct Commands {
    service: String,
    spawn: Vec<String>,
    stop: Vec<String>,
    list: Vec<String>,
}

impl Commands {
    pub(super) fn new(service: &str, scaling: &ServiceScaling) -> Self {
        let [spawn, stop, list] = [&scaling.spawn, &scaling.stop, &scaling.list].map(Clone::clone);
        Self { service: service.to_owned(), spawn, stop, list }
    }

    pub(super) async fn spawn(&self, name: &str) -> Result<(), String> {
        self.run(&self.spawn, name).await.map(drop)
    }

    pub(super) async fn stop(&self, name: &str) -> Result<(), String> {
        self.run(&self.stop, name).await.map(drop)
    }

    /// Names, one a line.
    pub(super) async fn list(&self) -> Result<Vec<String>, String> {
        let printed = self.run(&self.list, "").await?;
        let names = printed.lines().map(str::trim).filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    }

    /// Runs a command to its end and gives what it printed.
    async fn run(&self, command: &[String], name: &str) -> Result<String, String> {
        let mut arguments = command.iter().map(|text| text.replace("{name}", name).replace("{service}", &self.service));
        let program = arguments.next().ok_or("there is no such command")?;
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let mut out = child.stdout.take().ok_or("its output cannot be read")?.take(LONGEST);
        let running = async {
            let mut printed = Vec::new();
            let (read, ended) = tokio::join!(out.read_to_end(&mut printed), child.wait());
            read.and(ended).map(|status| (status, printed)).map_err(|error| format!("{program}: {error}"))
        };
        let ended = timeout(DEADLINE, running).await;
        let (status, printed) = ended.map_err(|_| format!("{program}: not done within {} s", DEADLINE.as_secs()))??;
        if !status.success() {
            return Err(format!("{program}: {status}"));
        }
        String::from_utf8(printed).map_err(|_| format!("{program}: what it printed is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(script: &str) -> Commands {
        let shell = |script: &str| ["sh", "-c", script, "{service}", "{name}"].map(str::to_owned).to_vec();
        let scaling = ServiceScaling {
            spawn: shell("echo \"$0 $1\" >&2; test \"$0 $1\" = 'words one'"),
            stop: shell("exit 3"),
            list: shell(script),
            ..ServiceScaling::default()
        };
        Commands::new("words", &scaling)
    }

    #[tokio::test]
    async fn commands_are_told_names_and_believed_by_their_status() {
        let commands = commands("printf 'one\\n\\n two \\n'");
        commands.spawn("one").await.unwrap();
        assert!(commands.spawn("another").await.is_err());
        assert!(commands.stop("one").await.unwrap_err().contains("exit status: 3"));
        assert_eq!(commands.list().await.unwrap(), ["one", "two"]);
    }
}
