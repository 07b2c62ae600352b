//! A worker that may do at the broker what the README says, and no more.

use crate::{
    place::Place,
    support::{alive, cli, wait_for},
};
use serde_json::json;

/// The patterns of the README's `rabbitmqctl set_permissions`: to configure, to write, to read.
fn permissions(queue: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let line = readme.lines().find(|line| line.contains("set_permissions worker")).unwrap();
    let patterns = line.split('\'').skip(1).step_by(2).map(|pattern| pattern.replace("words", queue));
    patterns.collect()
}

#[test]
fn a_worker_with_the_rights_that_the_readme_gives_it() {
    // It fails until its last try was seen: between its tries that is shown for a second, then for two, and so on.
    let script = "[ -e @DIR@/long ] && exec sleep 600; [ -e @DIR@/seen ] || exit 1; echo done";
    let place = Place::new("rights", script, "retries = 6");
    let user = format!("worker-{}", std::process::id());
    let given = permissions(&place.queue);
    assert_eq!(given.len(), 3, "{given:?}");
    place.broker.ctl(&["add_user", &user, "secret"]);
    place.broker.ctl(&["set_permissions", &user, &given[0], &given[1], &given[2]]);
    let (_, node) = place.broker.url().rsplit_once('@').unwrap();
    let worker = place.worker_with(|command| {
        command.env("GATEWAY_BROKER__URL", format!("amqp://{user}:secret@{node}"));
    });

    // Its results and its waiting for another try …
    let uuid = place.submit(&[]);
    place.until(&uuid, "RETRY");
    place.touch("seen");
    let ended = place.end(&uuid);
    assert_eq!((&ended["status"], &ended["result"]), (&json!("SUCCESS"), &json!("done")), "{ended}");
    // … its events, and commands to it.
    place.touch("long");
    let uuid = place.submit(&[]);
    place.until(&uuid, "STARTED");
    let cancelled = cli(place.gateway.directory(), &["cancel", "--url", &place.gateway.url(), "stub", &uuid]);
    assert_eq!(cancelled.code, 0, "{}", cancelled.stderr);
    wait_for("its program ends", || crate::place::processes_of(&uuid).into_iter().all(|process| !alive(process)));
    assert_eq!(place.end(&uuid)["status"], "REVOKED");
    let log = worker.log();
    assert!(!log.contains("ACCESS_REFUSED"), "{log}");
    drop(worker);
    place.broker.ctl(&["delete_user", &user]);
}
