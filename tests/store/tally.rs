//! What the need for workers is concluded from.

use crate::{NOW, accept_for, claim, commit, heard, places::Place, submit, tell};
use gateway_life::State;
use service_gateway::store::{Counts, Took};

both!(each_service_is_counted_on_its_own, only_what_a_worker_was_seen_to_do_tells_how_long_it_takes);

async fn each_service_is_counted_on_its_own(place: Place) {
    let store = place.open().await;
    let services = ["a", "a", "a", "b", r"c\0"];
    let all: Vec<_> = services.iter().map(|service| accept_for(service)).collect();
    commit(&store, NOW, all.iter().map(submit).collect()).await;
    // Of the three tasks of a one runs, and one has ended.
    let runs = heard(State::Started);
    commit(&store, NOW + 10, vec![tell(all[0].task.id, runs.clone()), tell(all[1].task.id, runs)]).await;
    commit(&store, NOW + 30, vec![tell(all[1].task.id, heard(State::Success))]).await;
    let tally = store.tally(NOW + 40, NOW).await.unwrap();
    let a = Counts { accepted: 3, due: 1, due_since: Some(NOW), open: 2, running: 1, oldest: Some(NOW) };
    assert_eq!(tally.counts["a"], a);
    let one = Counts { accepted: 1, due: 1, due_since: Some(NOW), open: 1, running: 0, oldest: Some(NOW) };
    assert_eq!((&tally.counts["b"], &tally.counts[r"c\0"]), (&one, &one));
    assert_eq!(tally.ended, [Took { service: "a".into(), ended: NOW + 30, took: 20 }]);
    assert_eq!(store.tally(NOW + 40, NOW + 30).await.unwrap().ended, [], "told once");
    // A slot of the embedded broker has it: it does not wait any more.
    commit(&store, NOW + 50, vec![claim("b")]).await;
    assert_eq!(store.tally(NOW + 50, NOW).await.unwrap().counts["b"].due, 0);

    let arrivals = store.arrivals(0).await.unwrap();
    assert_eq!(arrivals.len(), 5);
    assert_eq!((&*arrivals[0].0, arrivals[0].1), (r"c\0", NOW), "the latest first");
    assert_eq!(store.arrivals(NOW * 2).await.unwrap(), []);
}

async fn only_what_a_worker_was_seen_to_do_tells_how_long_it_takes(place: Place) {
    let store = place.open().await;
    let all: Vec<_> = (0..3).map(|_| accept_for("s")).collect();
    commit(&store, NOW, all.iter().map(submit).collect()).await;
    // First heard of at its end; cancelled while it ran; failed.
    let [silent, cancelled, failed] = [0, 1, 2].map(|at| all[at].task.id);
    commit(&store, NOW + 5, vec![tell(silent, heard(State::Success))]).await;
    commit(&store, NOW + 5, vec![tell(cancelled, heard(State::Started)), tell(failed, heard(State::Started))]).await;
    commit(&store, NOW + 9, vec![tell(cancelled, gateway_life::Fact::Cancelled), tell(failed, heard(State::Failure))])
        .await;
    let ended = store.tally(NOW + 10, NOW).await.unwrap().ended;
    assert_eq!(ended, [Took { service: "s".into(), ended: NOW + 9, took: 4 }]);
}
