//! `service-gateway completions`

use super::{NAME, exit, failed, print, visible};
use clap_complete::Shell;
use std::process::ExitCode;

/// Print completions of this command line for a shell
///
/// For instance: service-gateway completions bash > ~/.local/share/bash-completion/completions/service-gateway
#[derive(clap::Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut visible(), NAME, &mut script);
        let script = String::from_utf8(script).map_err(failed);
        // clap_complete 4.6 writes a program's name with a hyphen in two ways, and bash then knows no option.
        let script = script.map(|script| script.replace("service__subcmd__gateway", "service__gateway"));
        exit(script.and_then(|script| print(&script)))
    }
}
