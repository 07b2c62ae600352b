//! The program's commands, one a file.
//!
//! Exit codes: 0 fine; 1 the asked thing failed (`check`: there are faults); 2 wrong usage, or another command met a
//! faulty configuration.

mod check;
mod client;
mod completions;
mod demo;
#[cfg(feature = "otlp")]
mod export;
#[cfg(not(feature = "otlp"))]
#[path = "export/none.rs"]
mod export;
mod import;
mod logs;
mod man;
mod new_worker;
mod rehearse;
mod scale;
mod serve;
mod simulate;
mod token;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};
use gateway_config::{Faults, Loaded};
use std::{path::PathBuf, process::ExitCode};

/// The program's name, as people call it.
const NAME: &str = "service-gateway";

/// A REST gateway in front of queue-based workers.
#[derive(Parser)]
#[command(name = NAME, version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// Run workers for services that have a program
    Worker(worker::Worker),
    /// Write a complete worker that runs as it stands
    NewWorker(new_worker::NewWorker),
    /// Say every fault in the configuration
    Check(check::Check),
    /// Print a signed token for testing
    Token(token::Token),
    /// Serve, do one real task, and show it: everything in one process
    Demo(demo::Demo),
    /// Submit a document and follow it to its result
    Submit(client::Submit),
    /// Ask what became of a task
    Status(client::Status),
    /// Cancel a task
    Cancel(client::Cancel),
    /// List the services of a gateway
    Services(client::Services),
    /// Say how many workers are needed, and why; or plan for a load
    Needs(client::Needs),
    /// Start and stop workers as they are needed
    Scale(scale::Scale),
    /// Try the scaling policies against made or recorded load
    Simulate(simulate::Simulate),
    /// Turn the original's Python configuration into gateway.toml
    Import(import::Import),
    /// Print completions of this command line for a shell
    Completions(completions::Completions),
    /// Print the manual page, or write one for each command
    Man(man::ManPages),
    /// The demo's worker: measure a WAV file
    #[command(hide = true)]
    Analyse(demo::Analyse),
}

/// Where the configuration is.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file [default: ./gateway.toml, then config/gateway.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The checked configuration; its faults are printed, and exit code 2 is what they mean to most commands.
    fn load(&self, overrides: &[(&str, &str)]) -> Result<Loaded, ExitCode> {
        self.read(overrides).map_err(|faults| {
            say(&faults.to_string());
            ExitCode::from(2)
        })
    }

    /// As [`ConfigFile::load`], for a command that has no use for some keys, which are replaced by `fillers`: they may be
    /// missing, or name secrets that are not on this machine. An operator is not warned of what we filled in.
    fn load_without(&self, fillers: &[(&str, &str)]) -> Result<Loaded, ExitCode> {
        let mut loaded = self.load(fillers)?;
        loaded.warnings.retain(|warning| !warning.starts_with("command line: "));
        Ok(loaded)
    }

    fn read(&self, overrides: &[(&str, &str)]) -> Result<Loaded, Faults> {
        gateway_config::load(self.config.as_deref(), gateway_config::environment(), overrides)
    }
}

/// For commands that nobody sends requests: their machines need not have the key that tokens are signed with.
const NO_TOKENS: [(&str, &str); 2] = [("auth.mode", "none"), ("auth.key", "")];

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Worker(worker) => worker.run(),
        Command::NewWorker(new) => new.run(),
        Command::Check(check) => check.run(),
        Command::Token(token) => token.run(),
        Command::Demo(demo) => demo.run(),
        Command::Submit(submit) => submit.run(),
        Command::Status(status) => status.run(),
        Command::Cancel(cancel) => cancel.run(),
        Command::Services(services) => services.run(),
        Command::Needs(needs) => needs.run(),
        Command::Scale(scale) => scale.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Import(import) => import.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Analyse(analyse) => analyse.run(),
    }
}

/// The command line without what is not for people: what completions and manual pages tell.
fn visible() -> clap::Command {
    let whole = Arguments::command();
    let told = clap::Command::new(NAME).version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    let told = told.about(whole.get_about().cloned().unwrap_or_default()).subcommand_required(true);
    told.subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

/// To the person: standard error. A closed terminal is no reason to stop.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// What was asked for: standard output. Fails when it is closed, as a pipe may be.
fn print(text: &str) -> Result<(), ExitCode> {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(|_| ExitCode::FAILURE)
}

/// `Ok` is 0.
fn exit(result: Result<(), ExitCode>) -> ExitCode {
    result.err().unwrap_or(ExitCode::SUCCESS)
}

/// Says what failed; exit code 1.
fn failed(error: impl std::fmt::Display) -> ExitCode {
    say(&format!("service-gateway: {error}"));
    ExitCode::FAILURE
}
