//! `service-gateway import`: the original's configuration, without running it.

mod mapping;
mod python;

use super::{exit, failed, print, say};
use mapping::Mapping;
use std::{path::PathBuf, process::ExitCode};

/// The largest configuration that is read.
const LARGEST: u64 = 1 << 20;

/// Turn the original's Python configuration into gateway.toml
///
/// Reads the module as data (literals, concatenations, references to earlier names) and executes nothing. Prints the TOML
/// on standard output, and on standard error what was not carried, and why.
#[derive(clap::Args)]
pub(super) struct Import {
    /// The Python module
    file: PathBuf,
}

impl Import {
    pub(super) fn run(self) -> ExitCode {
        exit(self.import())
    }

    fn import(self) -> Result<(), ExitCode> {
        let shown = |error: std::io::Error| failed(format!("{}: {error}", self.file.display()));
        if std::fs::metadata(&self.file).map_err(shown)?.len() > LARGEST {
            return Err(failed(format!("{}: larger than {LARGEST} bytes", self.file.display())));
        }
        let text = std::fs::read_to_string(&self.file).map_err(shown)?;
        let module = python::read(&text);
        let Mapping { toml, left } = mapping::map(&module);
        for line in module.skipped.iter().map(|skipped| format!("line {}: {}", skipped.line, skipped.why)).chain(left) {
            say(&format!("not carried: {line}"));
        }
        if toml.is_empty() {
            return Err(failed("nothing in this file is a setting of the original"));
        }
        let text = toml::to_string(&toml).map_err(failed)?;
        if let Err(faults) = gateway_config::parse(Some((&self.file, &text)), [], &[]) {
            for fault in faults.iter() {
                say(&format!("to be completed: {}: {}", fault.key, fault.reason));
            }
        }
        print(&text)
    }
}
