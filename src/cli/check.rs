//! `service-gateway check`

use super::{ConfigFile, print, say};
use std::process::ExitCode;

/// Say every fault in the configuration
#[derive(clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let Ok(loaded) = self.config.load(&[]) else { return ExitCode::FAILURE };
        for warning in &loaded.warnings {
            say(&format!("warning: {warning}"));
        }
        if let Err(faults) = super::rehearse::rehearse(&loaded.config) {
            say(&faults.to_string());
            return ExitCode::FAILURE;
        }
        let file = loaded.file.map_or_else(String::new, |file| file.display().to_string());
        let services = loaded.config.services.len();
        super::exit(print(&format!("{file}: no faults, {services} service(s), {} warning(s)", loaded.warnings.len())))
    }
}
