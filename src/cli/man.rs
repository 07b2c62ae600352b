//! `service-gateway man`

use super::{exit, failed, print, visible};
use clap_mangen::Man;
use std::{fs, path::PathBuf, process::ExitCode};

/// Print the manual page, or write one for each command
///
/// To read it at once: service-gateway man | man -l -
#[derive(clap::Args)]
pub(super) struct ManPages {
    /// Write service-gateway.1, and a page for each command, into this directory; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl ManPages {
    pub(super) fn run(self) -> ExitCode {
        exit(match self.directory {
            Some(directory) => fs::create_dir_all(&directory)
                .and_then(|()| clap_mangen::generate_to(visible(), &directory))
                .map_err(|error| failed(format!("{}: {error}", directory.display()))),
            None => show(),
        })
    }
}

fn show() -> Result<(), ExitCode> {
    let mut page = Vec::new();
    Man::new(visible().disable_help_subcommand(true)).render(&mut page).map_err(failed)?;
    print(&String::from_utf8(page).map_err(failed)?)
}
