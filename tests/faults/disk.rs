//! The disk: full, and broken. Full is known and passes; after an I/O error nobody knows what is on the disk, so the process
//! ends and the next one looks.

use crate::{
    arena::Kind,
    inject::Injector,
    place::{LONG, Workshop, ready, sent, succeeds, try_submit},
    postgres::Postgres,
    rabbit::{Rabbit, support},
    support::{Gateway, get, pause, request, status, until},
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A file system of its own, so small that it can be filled.
struct Disk {
    directory: TempDir,
    guard: Child,
}

impl Disk {
    fn new(size: &str) -> Self {
        let directory = TempDir::with_prefix("sg-test-disk-").unwrap();
        let mut command = Command::new(support().join("faults.sh"));
        command.arg("disk").arg(directory.path()).arg(size).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: what ends the tests must not end it before it has cleaned up.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut guard = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no small file system: see what faults.sh says");
        Self { directory, guard }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves no byte free; what is written is removed by [`Disk::clear`].
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

#[test]
fn a_full_disk_is_told_and_passes_sqlite() {
    a_full_disk_is_told_and_passes(Kind::Sqlite);
}

#[test]
fn a_full_disk_is_told_and_passes_postgres() {
    a_full_disk_is_told_and_passes(Kind::Postgres);
}

fn a_full_disk_is_told_and_passes(kind: Kind) {
    let (disk, workshop, broker) = (Disk::new("16m"), Workshop::new(), Rabbit::shared());
    // On a server of its own: one that stops for want of space stops for all.
    let database = (kind == Kind::Postgres).then(Postgres::own);
    let store = match &database {
        None => format!("sqlite:{}/gateway.db", disk.path().display()),
        Some(database) => {
            database.run(&format!("CREATE TABLESPACE small LOCATION '{}'", space(&disk).display()));
            database.run("ALTER ROLE gateway SET default_tablespace = small");
            database.url()
        }
    };
    let gateway = Gateway::start(&workshop.configuration(broker.url(), &store));
    ready(&gateway);
    let _worker = workshop.worker(broker.url());
    let gate = workshop.path("gate");
    let gated = crate::place::submit(&gateway, &[("gate", gate.to_str().unwrap())]);
    crate::place::state(&gateway, &gated, "STARTED");
    let mut accepted = vec![crate::place::submit(&gateway, &[])];
    succeeds(&gateway, &accepted[0]);

    disk.fill();
    // What is left in files that are there is used up first.
    let big = "x".repeat(100_000);
    let refusal = until(LONG, "the disk is full", || {
        let url = format!("{}/record/annotate", gateway.url());
        let submission = request("POST", &url).header("Idempotency-Key", &accepted.len().to_string());
        let answer = submission.form(&[("big", &big)]).send();
        if answer.status == 200 {
            accepted.push(answer.json()["uuid"].as_str().unwrap().to_owned());
            return None;
        }
        // A store that only takes its time is asked again: nobody knows whether it was accepted.
        Some(answer).filter(|answer| answer.status != 409 && !answer.text().contains("may have been accepted"))
    });
    refusal.refused(503, 205);
    assert!(refusal.header("retry-after").is_some(), "{:?}", refusal.headers);
    // A worker's result does not fit either: it waits with the broker, and reads go on.
    std::fs::write(&gate, "").unwrap();
    until(LONG, "the worker is done", || (workshop.done().get(&gated) == Some(&1)).then_some(()));
    for uuid in &accepted {
        assert!(status(&gateway, "record", uuid)["status"].is_string());
    }
    assert_eq!(get(&format!("{}/livez", gateway.url())).status, 200);

    disk.clear();
    accepted.push(until(LONG, "there is space again", || {
        let again = try_submit(&gateway.url(), "after", &[]).ok();
        if again.is_none() {
            pause(50);
        }
        again
    }));
    accepted.push(gated);
    for uuid in &accepted {
        let told = succeeds(&gateway, uuid);
        assert_eq!(workshop.begun()[uuid], 1, "{told}");
    }
    assert_eq!(get(&format!("{}/record/stats", gateway.url())).json()["invocations"], accepted.len());
}

/// A directory that PostgreSQL accepts: empty, and its own.
fn space(disk: &Disk) -> PathBuf {
    let space = disk.path().join("space");
    std::fs::create_dir(&space).unwrap();
    // The directory above lets it pass.
    std::fs::set_permissions(disk.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    Postgres::give(&space);
    space
}

/// Whoever waits is told that it may have been accepted; the process ends with 1; the next one has everything.
#[test]
fn after_a_failed_fsync_the_process_ends_and_the_next_has_everything() {
    let (workshop, broker) = (Workshop::new(), Rabbit::shared());
    let mut gateway = Gateway::start(&workshop.configuration(broker.url(), crate::place::SQLITE));
    ready(&gateway);
    let before: Vec<_> = (0..5).map(|_| crate::place::submit(&gateway, &[])).collect();
    before.iter().for_each(|uuid| drop(sent(&gateway, uuid)));

    // Its sync, whichever of the two calls it uses, fails once and for all.
    let injector = Injector::attach(gateway.pid(), "store-writer", "fdatasync,fsync:error=EIO");
    let answer = request("POST", &format!("{}/record/annotate", gateway.url())).header("Idempotency-Key", "key").send();
    let message = answer.refused(503, 205);
    assert!(message.contains("may have been accepted") && message.contains("Idempotency-Key"), "{message}");
    assert_eq!(gateway.wait().code(), Some(1), "{}", gateway.log());
    assert!(injector.hits() > 0, "{}", injector.told());
    drop(injector);

    gateway.restart();
    ready(&gateway);
    let uuid = try_submit(&gateway.url(), "key", &[]).unwrap();
    let _worker = workshop.worker(broker.url());
    for uuid in before.iter().chain([&uuid]) {
        succeeds(&gateway, uuid);
    }
    let count = get(&format!("{}/record/stats", gateway.url())).json()["invocations"].as_u64();
    assert_eq!((count, workshop.begun().len()), (Some(6), 6), "once, whichever of the two answers it was");
}

/// What runs is stopped, and no end of a run that can never be written holds the process up.
#[test]
fn after_a_failed_fsync_the_process_ends_while_it_runs_a_program() {
    let gated = "[auth]\nmode = \"none\"\n[services.record]\nrequires_document = false\n[services.record.worker]\n\
                 command = [\"sh\", \"-c\", '''until [ -e @DIR@/go ]; do sleep 0.05; done; echo '\"done\"' ''']\n";
    let mut gateway = Gateway::start(gated);
    ready(&gateway);
    let running = crate::place::submit(&gateway, &[]);
    crate::place::state(&gateway, &running, "STARTED");

    let injector = Injector::attach(gateway.pid(), "store-writer", "fdatasync,fsync:error=EIO");
    request("POST", &format!("{}/record/annotate", gateway.url())).send().refused(503, 205);
    assert_eq!(gateway.wait().code(), Some(1), "{}", gateway.log());
    assert!(!gateway.log().contains("not handed back in time"), "{}", gateway.log());
    drop(injector);

    gateway.restart();
    std::fs::write(gateway.directory().join("go"), "").unwrap();
    let end = crate::place::end(&gateway, &running);
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &"done".into()), "{end}");
}
