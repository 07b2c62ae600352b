//! `service-gateway new-worker`: a complete worker to begin with.

use super::{exit, failed, print, say};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The longest name: a file, a unit and a queue are called by it.
const LONGEST: usize = 60;

/// Write a complete worker that runs as it stands: code, service table, systemd unit, test
#[derive(clap::Args)]
pub(super) struct NewWorker {
    /// The service: lower-case letters, digits and `-`, a letter first
    name: String,
    /// What the worker is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// The directory to make [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// For rust: a checkout of Service Gateway [default: the one that this program was built from]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    /// A program in any language (here a shell script)
    Command,
    /// A function, on Celery
    Python,
    /// An async function
    Rust,
}

impl NewWorker {
    pub(super) fn run(self) -> ExitCode {
        exit(self.make())
    }

    fn make(self) -> Result<(), ExitCode> {
        let usage = |why: String| {
            say(&format!("service-gateway: {why}"));
            ExitCode::from(2)
        };
        check(&self.name).map_err(usage)?;
        let directory = self.directory.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        if fs::symlink_metadata(&directory).is_ok() {
            return Err(usage(format!("{} is there already: give another --directory", directory.display())));
        }
        let files = self.files().map_err(usage)?;
        // Under another name first, so that there is no half of a worker whatever happens.
        let mut unfinished = directory.clone().into_os_string();
        unfinished.push(format!(".new-{}", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let made = write(&unfinished, &files).map_err(|error| failed(format!("{}: {error}", directory.display())));
        let made = made.and_then(|()| self.sound(&unfinished).map_err(usage));
        let made = made.and_then(|()| {
            fs::rename(&unfinished, &directory).map_err(|error| failed(format!("{}: {error}", directory.display())))
        });
        if made.is_err() {
            // Its error is told already.
            let _ = fs::remove_dir_all(&unfinished);
        }
        made?;
        print(&format!("{}: see README.md there", directory.display()))
    }

    /// Would the gateway take the service table?
    fn sound(&self, directory: &Path) -> Result<(), String> {
        let file = directory.join("gateway.toml");
        match gateway_config::load(Some(&file), std::iter::empty(), &[]) {
            Ok(_) => Ok(()),
            Err(faults) => Err(format!("a service cannot be called {:?}:\n{faults}", self.name)),
        }
    }

    /// Every file: its path, its text, whether it is executed.
    fn files(&self) -> Result<Vec<(String, String, bool)>, String> {
        let name = &*self.name;
        let (parts, broker, worker, start) = match self.lang {
            Language::Command => (COMMAND, "", COMMAND_TABLE, COMMAND_START),
            Language::Python => (PYTHON, BROKER, "", PYTHON_START),
            Language::Rust => (RUST, BROKER, "", "/opt/@NAME@/@NAME@-worker"),
        };
        let source = if self.lang == Language::Rust { self.source()? } else { String::new() };
        let fill = |text: &str| {
            let text = text.replace("@BROKER@", broker).replace("@WORKER@\n", worker).replace("@EXEC@", start);
            text.replace("@SOURCE@", &source).replace("@NAME@", name)
        };
        let common = [("gateway.toml", GATEWAY), ("@NAME@-worker.service", UNIT)];
        let all = common.iter().chain(parts);
        Ok(all.map(|(path, text)| (fill(path), fill(text), path.ends_with(".sh"))).collect())
    }

    /// Where the crate `gateway-worker` is, as it stands in a TOML text.
    fn source(&self) -> Result<String, String> {
        let root = self.source.clone().unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let found = root.join("src/worker").canonicalize().ok().filter(|path| path.join("Cargo.toml").is_file());
        let path = found.ok_or_else(|| {
            format!("{} is no checkout of Service Gateway: give one with --source DIR", root.display())
        })?;
        let text = path.to_str().filter(|text| !text.contains(['"', '\\', '\n']));
        text.map(str::to_owned).ok_or_else(|| format!("{} cannot stand in Cargo.toml", path.display()))
    }
}

fn check(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let fits = name.len() <= LONGEST && name.starts_with(|first: char| first.is_ascii_lowercase());
    if plain && fits && !name.ends_with('-') {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name for a worker: expected 1 to {LONGEST} lower-case letters, digits and `-`, a letter first"
    ))
}

fn write(directory: &Path, files: &[(String, String, bool)]) -> io::Result<()> {
    fs::create_dir(directory)?;
    for (path, text, executed) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        if *executed {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

const GATEWAY: &str = include_str!("new_worker/gateway.toml.in");
const UNIT: &str = include_str!("new_worker/unit.in");

/// What `gateway.toml` says of the broker where the worker is another process.
const BROKER: &str = "
[broker]
url = \"amqp://guest:guest@localhost:5672/%2f\"   # or leave it to the variable GATEWAY_BROKER__URL
";

const COMMAND_TABLE: &str = "
[services.@NAME@.worker]
command = [\"./worker.sh\", \"{document}\", \"{params}\", \"{output}\"]
timeout = \"1h\"
#memory = \"1 GiB\"                # of each process; also cpu_time, open_files
";

/// What the trial may reach is not for good: only what `worker.env` names.
const COMMAND_START: &str = "\
/usr/bin/service-gateway worker --config gateway.toml --name @NAME@ @NAME@
Environment=GATEWAY_DOCUMENTS__ALLOW_HOSTS=";

/// `%%h` is Celery's own `%h`, the host. Without a name of its own it would be that of every worker of this host.
const PYTHON_START: &str = "/opt/@NAME@/venv/bin/celery -A worker worker --hostname @NAME@@%%h --loglevel info";

const COMMAND: &[(&str, &str)] = &[
    ("worker.sh", include_str!("new_worker/worker.sh.in")),
    ("test.sh", include_str!("new_worker/test.sh.in")),
    ("README.md", include_str!("new_worker/readme_command.md.in")),
];

const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("new_worker/Cargo.toml.in")),
    ("src/main.rs", include_str!("new_worker/main.rs.in")),
    (".gitignore", "/target\n"),
    ("README.md", include_str!("new_worker/readme_rust.md.in")),
];

macro_rules! package {
    ($($file:literal),* $(,)?) => {
        &[
            ("worker.py", include_str!("new_worker/worker.py.in")),
            ("test_worker.py", include_str!("new_worker/test_worker.py.in")),
            ("requirements.txt", "celery>=5.3,<6\n"),
            (".gitignore", "/venv\n__pycache__\n"),
            ("README.md", include_str!("new_worker/readme_python.md.in")),
            $((
                concat!("service_gateway_worker/", $file),
                include_str!(concat!("../worker/python/service_gateway_worker/", $file)),
            ),)*
        ]
    };
}

/// The package comes along, so that nothing but Celery has to be installed.
const PYTHON: &[(&str, &str)] = package![
    "__init__.py",
    "app.py",
    "directories.py",
    "exceptions.py",
    "outside.py",
    "request.py",
    "testing.py",
    "py.typed"
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "words", "speech-2-text", &"x".repeat(LONGEST)] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", "2x", "-a", "a-", "A", "a_b", "../a", "a b", "é", "a/b", ".", &"x".repeat(LONGEST + 1)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
