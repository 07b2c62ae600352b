//! What a guard tells the worker.

use std::str::FromStr;

/// One line on the socket between guard and worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// The program runs.
    Started,
    /// The guard itself was sent a signal, and stops the program. An end follows.
    Interrupted,
    /// The end: the program could not be started.
    Unstarted(String),
    /// The end: it exited with this status.
    Exited(i32),
    /// The end: this signal killed it.
    Signalled(i32),
    /// The end: something of it cannot be killed.
    Stuck,
}

impl Report {
    /// As a line, with its end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Started => "started\n".to_owned(),
            Self::Interrupted => "interrupted\n".to_owned(),
            Self::Unstarted(why) => format!("unstarted {}\n", why.replace(['\n', '\r'], " ")),
            Self::Exited(status) => format!("exited {status}\n"),
            Self::Signalled(signal) => format!("signalled {signal}\n"),
            Self::Stuck => "stuck\n".to_owned(),
        }
    }
}

impl FromStr for Report {
    type Err = ();

    /// Reads a line without its end.
    fn from_str(line: &str) -> Result<Self, ()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Ok(match word {
            "started" => Self::Started,
            "interrupted" => Self::Interrupted,
            "unstarted" => Self::Unstarted(rest.to_owned()),
            "exited" => Self::Exited(rest.parse().map_err(drop)?),
            "signalled" => Self::Signalled(rest.parse().map_err(drop)?),
            "stuck" => Self::Stuck,
            _ => return Err(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn said_and_understood() {
        for report in [
            Report::Started,
            Report::Interrupted,
            Report::Unstarted("no such file".into()),
            Report::Exited(0),
            Report::Exited(255),
            Report::Signalled(9),
            Report::Stuck,
        ] {
            let line = report.line();
            assert_eq!(line.strip_suffix('\n').unwrap().parse(), Ok(report));
        }
        assert_eq!(Report::Unstarted("a\nexited 0".into()).line(), "unstarted a exited 0\n");
        for line in ["", "exited", "exited x", "else"] {
            assert_eq!(line.parse::<Report>(), Err(()));
        }
    }
}
