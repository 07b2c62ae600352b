//! The rules that one value alone cannot tell: pure, all of them at once.

mod auth;
mod numbers;
mod outside;
mod services;

use crate::{Config, fault::Fault, reader::origin_of};
use std::collections::{BTreeMap, BTreeSet};

/// What validation found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What must be mended before the gateway starts.
    pub faults: Vec<Fault>,
    /// What is admitted and probably not meant.
    pub warnings: Vec<Fault>,
}

/// Checks a configuration that was made by hand, once it is [completed](Config::completed). What is loaded is
/// checked already.
///
/// ```
/// let config = gateway_config::Config::default();
/// let verdict = gateway_config::validate(&config);
/// assert_eq!(verdict.faults[0].key, "auth.key", "tokens are asked for and no key is set");
/// ```
pub fn validate(config: &Config) -> Verdict {
    judge(config, &BTreeMap::new(), "", &BTreeSet::new())
}

/// Checks `config`. `origins` says where a key was written, `file` where a missing one belongs; what depends on a key
/// in `wrong` is not judged, since its value is not the operator's.
pub(crate) fn judge(
    config: &Config,
    origins: &BTreeMap<String, String>,
    file: &str,
    wrong: &BTreeSet<String>,
) -> Verdict {
    let mut check = Check { origins, file, wrong, verdict: Verdict::default() };
    numbers::check(config, &mut check);
    auth::check(&config.auth, &config.server, &mut check);
    outside::check(config, &mut check);
    services::check(config, &mut check);
    check.verdict
}

/// Collects what the rules say.
struct Check<'a> {
    origins: &'a BTreeMap<String, String>,
    file: &'a str,
    wrong: &'a BTreeSet<String>,
    verdict: Verdict,
}

impl Check<'_> {
    /// A fault of the value at `key`.
    fn fault(&mut self, key: &str, reason: impl Into<String>) {
        if self.sound(key) {
            let fault = self.tell(key, reason.into());
            self.verdict.faults.push(fault);
        }
    }

    /// Says something about the value at `key` that need not be wrong.
    fn warn(&mut self, key: &str, reason: impl Into<String>) {
        if self.sound(key) {
            let warning = self.tell(key, reason.into());
            self.verdict.warnings.push(warning);
        }
    }

    /// Was the value at `key`, and everything above and below it, read without a fault?
    fn sound(&self, key: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.wrong.iter().any(|wrong| within(wrong, key) || within(key, wrong))
    }

    fn tell(&self, key: &str, reason: String) -> Fault {
        let source = origin_of(self.origins, key).unwrap_or(self.file);
        Fault { source: source.to_owned(), key: key.to_owned(), reason }
    }
}
