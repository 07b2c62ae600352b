//! `service-gateway scale`.

use crate::{
    place::Place,
    postgres::Postgres,
    rabbit::Rabbit,
    support::{PATIENCE, alive, cli, pause, signal, until, wait_for},
};
use std::fs;

const QUICK: &str = "[scaling]\ninterval = \"1s\"\n";
/// No worker is given up because a busy machine takes its time to start it.
const SLOW: &str = "start_time = \"30s\"";

#[test]
fn a_daemon_that_was_killed_knows_its_workers_again() {
    let place = Place::new(Rabbit::shared(), "true", SLOW, &format!("{QUICK}min_idle_workers = 2\n"));
    let mut daemon = place.daemon("one");
    wait_for("two consume", || place.consumers() == 2);
    let before = until(PATIENCE, "both are written down, with their processes", || {
        Some(place.workers("one")).filter(|workers| workers.len() == 2 && workers.iter().all(|(_, pid)| *pid > 0))
    });
    daemon.kill9();
    let daemon = place.daemon("one");
    wait_for("the new daemon acts", || daemon.log().contains("this daemon acts"));
    // One dies: exactly one is started, so the other was known.
    signal(before[0].1, "KILL");
    let after = until(PATIENCE, "a new worker is written down", || {
        let workers = place.workers("one");
        (workers.len() == 2 && !workers.contains(&before[0])).then_some(workers)
    });
    assert!(after.contains(&before[1]) && alive(before[1].1), "{before:?} {after:?}");
    wait_for("two consume again", || place.consumers() == 2);
}

#[test]
fn a_worker_that_never_reports_is_replaced_and_a_failed_start_is_not_repeated_at_once() {
    // Machines by an operator's commands: this one boots, and consumes nothing.
    let script = "#!/bin/sh\necho \"$*\" >> calls\ncase $1 in spawn) touch \"vm-$2\";; stop) rm \"vm-$2\";; \
                  list) ls | sed -n 's/^vm-//p';; esac\n";
    let commands = "start_time = \"1s\"\nspawn = [\"./vm.sh\", \"spawn\", \"{name}\"]\n\
                    stop = [\"./vm.sh\", \"stop\", \"{name}\"]\nlist = [\"./vm.sh\", \"list\"]";
    let place = Place::new(Rabbit::shared(), "true", commands, QUICK);
    fs::write(place.file("vm.sh"), script).unwrap();
    fs::set_permissions(place.file("vm.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = place.daemon("one");
    let calls = |kind: &str| {
        let calls = fs::read_to_string(place.file("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.starts_with(kind)).map(str::to_owned).collect::<Vec<_>>()
    };
    wait_for("it is replaced", || calls("spawn").len() >= 2);
    let (spawned, stopped) = (calls("spawn"), calls("stop"));
    assert_eq!(stopped[0], spawned[0].replace("spawn", "stop"), "{}", daemon.log());
    assert!(daemon.log().contains("it never came to consume"), "{}", daemon.log());
    let machines = fs::read_dir(place.gateway.directory()).unwrap().flatten();
    let machines = machines.filter(|entry| entry.file_name().to_string_lossy().starts_with("vm-")).count();
    assert!(machines <= 1, "one is wanted, and the first was stopped before the second was started");
}

#[test]
fn one_of_two_daemons_acts_and_the_other_takes_over() {
    let database = Postgres::shared();
    let store = format!("{QUICK}[store]\nurl = \"{}\"\n", database.url());
    let place = Place::new(Rabbit::shared(), "true", SLOW, &store);
    // Each has a state file of its own, as on two machines: the lease in the database decides.
    let mut first = place.daemon("one");
    wait_for("the first acts", || first.log().contains("this daemon acts"));
    wait_for("one consumes", || place.consumers() == 1);
    let second = place.daemon("two");
    wait_for("the second looks", || second.log().contains("scaling"));
    (0..20).for_each(|_| pause(100));
    assert!(!second.log().contains("this daemon acts"), "{}", second.log());
    assert_eq!((place.workers("two").len(), place.consumers()), (0, 1));
    first.kill9();
    wait_for("the second takes over", || second.log().contains("this daemon acts"));
    (0..20).for_each(|_| pause(100));
    assert_eq!(place.consumers(), 1, "the first one's worker does the work, and counts");
}

#[test]
fn what_cannot_be_scaled_is_said() {
    let place = Place::new(Rabbit::shared(), "true", "", "");
    // It checks no tokens: a machine with workers need not have the key.
    let keyless = format!("[broker]\nurl = \"{}\"\n[auth]\nkey = \"env:NOT_THERE\"\n", place.broker.url());
    fs::write(place.file("keyless.toml"), keyless).unwrap();
    let asked = cli(place.gateway.directory(), &["scale", "--config", "keyless.toml", "nothing"]);
    assert!(asked.stderr.contains("nothing") && !asked.stderr.contains("NOT_THERE"), "{asked:?}");
    let asked = cli(place.gateway.directory(), &["scale", "nothing"]);
    assert!(asked.code == 1 && asked.stderr.contains("no service \"nothing\" is configured"), "{asked:?}");
    fs::write(place.file("embedded.toml"), "[auth]\nmode = \"none\"\n[services.a]\n").unwrap();
    let asked = cli(place.gateway.directory(), &["scale", "--config", "embedded.toml"]);
    assert!(asked.code == 1 && asked.stderr.contains("`serve` runs the workers itself"), "{asked:?}");
}
