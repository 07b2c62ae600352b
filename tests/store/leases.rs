//! Several gateways on one PostgreSQL: who owns a message.

use crate::{
    NONE, NOW, accept, accepted, commit, outbox,
    places::{Database, Place},
    submit, tell,
};
use gateway_life::{Accept, Fact};
use service_gateway::store::{LeaseTimes, Sharing, Store};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Short, so that a test need not wait. Only for what comes after its end: on a busy machine nothing is done in time.
const SHORT: LeaseTimes = LeaseTimes {
    length: Duration::from_millis(1500),
    renew: Duration::from_millis(300),
    margin: Duration::from_millis(500),
};

/// Long enough for a busy machine to renew in.
const KEPT: LeaseTimes = LeaseTimes { length: Duration::from_secs(12), ..SHORT };

/// The same, and it is never over while a test runs.
const LONG: LeaseTimes =
    LeaseTimes { length: Duration::from_secs(600), renew: Duration::from_secs(5), margin: Duration::from_secs(5) };

fn sharing(store: &Arc<dyn Store>) -> Arc<dyn Sharing> {
    store.sharing().expect("PostgreSQL is shared")
}

async fn adopt(store: &Arc<dyn Store>, limit: usize) -> Vec<(Uuid, u32)> {
    let messages = sharing(store).adopt(limit).await.unwrap();
    messages.into_iter().map(|message| (message.id, message.attempts)).collect()
}

async fn submit_some(store: &Arc<dyn Store>, count: usize) -> Vec<Uuid> {
    let all: Vec<Accept> = (0..count).map(|_| accept()).collect();
    commit(store, NOW, all.iter().map(submit).collect()).await;
    all.iter().map(|accept| accept.task.id).collect()
}

/// The leases of all that are known by now are over in the database, though not as their owners see it.
async fn expire(database: &Database) {
    database.client().await.batch_execute("UPDATE service_gateway.gateway SET lease_until = 0").await.unwrap();
}

/// Asks until it is so, for at most a minute.
async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn with_sqlite_nothing_is_shared() {
    let store = service_gateway::store::Sqlite::open(None, NOW).unwrap();
    assert!(store.sharing().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_gateway_keeps_what_it_accepted() {
    let database = Database::new().await;
    let (one, other) = (database.open(LONG).await, database.open(LONG).await);
    let ids = submit_some(&one, 3).await;
    assert_eq!(adopt(&other, 100).await, []);
    assert_eq!(adopt(&one, 100).await, [], "nor takes it from itself");
    assert_eq!((outbox(&one).await, outbox(&other).await), (ids, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_gateway_that_is_gone_are_taken_over_once() {
    let database = Database::new().await;
    let dead = database.open(LONG).await;
    let ids = submit_some(&dead, 25).await;
    commit(&dead, NOW, vec![tell(ids[0], Fact::Sent { attempts: 1 })]).await;
    drop(dead);
    let early = database.open(LONG).await;
    assert_eq!(adopt(&early, 100).await, [], "its lease is not over yet");
    expire(&database).await;
    let (one, other) = (database.open(LONG).await, database.open(LONG).await);
    let first = adopt(&one, 10).await;
    assert_eq!(first, ids[1..11].iter().map(|id| (*id, 1)).collect::<Vec<_>>(), "oldest first, one attempt more");
    let rest = futures_util::future::join_all((0..6).map(|n| adopt(if n % 2 == 0 { &one } else { &other }, 5))).await;
    let mut taken: Vec<Uuid> = first.into_iter().chain(rest.into_iter().flatten()).map(|(id, _)| id).collect();
    loop {
        // Who was in another's way took less than there was.
        let more = adopt(&other, 100).await;
        if more.is_empty() {
            break;
        }
        taken.extend(more.into_iter().map(|(id, _)| id));
    }
    assert_eq!(taken.len(), 24);
    assert_eq!(taken.iter().collect::<HashSet<_>>(), ids[1..].iter().collect());
    let mut owned = outbox(&one).await;
    owned.extend(outbox(&other).await);
    assert_eq!(owned.into_iter().collect::<HashSet<_>>(), ids[1..].iter().copied().collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_is_taken_over_at_once_and_untried_stays_untried() {
    let database = Database::new().await;
    let (one, other) = (database.open(LONG).await, database.open(LONG).await);
    let ids = submit_some(&one, 3).await;
    sharing(&one).release(vec![ids[1]]).await.unwrap();
    assert_eq!(outbox(&one).await, NONE);
    assert_eq!(adopt(&other, 100).await, [(ids[0], 1), (ids[1], 0), (ids[2], 1)]);
    // The next time nobody says that it was never tried.
    sharing(&other).release(vec![]).await.unwrap();
    let third = database.open(LONG).await;
    assert_eq!(adopt(&third, 100).await, [(ids[0], 1), (ids[1], 1), (ids[2], 1)]);
}

/// A gateway that stops may be taking messages over at that very moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_over_while_all_is_released_belongs_to_the_next() {
    let database = Database::new().await;
    let (one, other) = (database.open(LONG).await, database.open(LONG).await);
    let mut ids = submit_some(&one, 3).await;
    let third = database.open(LONG).await;
    ids.extend(submit_some(&third, 100).await);
    sharing(&third).release(vec![]).await.unwrap();
    let stopping = sharing(&one);
    let (_, released) = tokio::join!(stopping.adopt(100), stopping.release(vec![]));
    released.unwrap();
    assert_eq!(adopt(&one, 1000).await, [], "it has stopped");
    stopping.renew().await.unwrap();
    let mut taken: Vec<_> = adopt(&other, 1000).await.into_iter().map(|(id, _)| id).collect();
    taken.sort();
    ids.sort();
    assert_eq!(taken, ids);
    // Whoever owns a message and is not known any more is as good as gone, for gateways that run as well.
    let fourth = database.open(LONG).await;
    let client = database.client().await;
    client.execute("UPDATE service_gateway.outbox SET owner = gen_random_uuid()", &[]).await.unwrap();
    assert_eq!(adopt(&fourth, 1000).await.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_kept_stays_in_its_term() {
    let database = Database::new().await;
    let (one, other) = (database.open(KEPT).await, database.open(LONG).await);
    let ids = submit_some(&one, 1).await;
    let lease = sharing(&one).lease();
    assert_eq!(lease.term(), Some(0));
    let end = Instant::now() + KEPT.length;
    while Instant::now() < end {
        sharing(&one).renew().await.unwrap();
        assert_eq!(adopt(&other, 100).await, []);
        tokio::time::sleep(KEPT.renew).await;
    }
    assert_eq!((lease.term(), outbox(&one).await), (Some(0), ids));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_comes_back_finds_its_lease_over_and_what_is_still_its_own() {
    let database = Database::new().await;
    let paused = database.open(LONG).await;
    let ids = submit_some(&paused, 4).await;
    let lease = sharing(&paused).lease();
    expire(&database).await;
    let other = database.open(LONG).await;
    assert_eq!(adopt(&other, 2).await.len(), 2);
    // Accepted meanwhile: its own, and anybody's.
    let late = submit_some(&paused, 1).await;
    sharing(&paused).renew().await.unwrap();
    assert_eq!(lease.term(), Some(1), "a new term: what is at hand has to be compared");
    assert_eq!(outbox(&paused).await, [ids[2], ids[3], late[0]]);
    assert_eq!(adopt(&other, 100).await, [], "it lives again");
    sharing(&paused).renew().await.unwrap();
    assert_eq!(lease.term(), Some(1));
}

/// Its owner stops first, and then others take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_not_renewed_is_over() {
    let database = Database::new().await;
    let (paused, other) = (database.open(SHORT).await, database.open(LONG).await);
    let ids = submit_some(&paused, 1).await;
    let lease = sharing(&paused).lease();
    let taken =
        until("the lease is over", async || Some(adopt(&other, 2).await).filter(|taken| !taken.is_empty())).await;
    assert_eq!((taken, lease.term()), (vec![(ids[0], 1)], None), "its owner knows");
}

/// Whoever is about to take messages over holds the lease until they are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_comes_back_only_after_its_messages_are_taken() {
    let database = Database::new().await;
    let paused = database.open(LONG).await;
    let ids = submit_some(&paused, 2).await;
    let lease = sharing(&paused).lease();
    expire(&database).await;
    // Another gateway, in the middle of it.
    let other = database.client().await;
    let thief = Uuid::now_v7();
    other.batch_execute("BEGIN; SELECT * FROM service_gateway.gateway FOR NO KEY UPDATE").await.unwrap();
    let coming = sharing(&paused);
    // No lock is waited for longer than 3 s: then it tries again.
    let renewing = tokio::spawn(async move { while coming.renew().await.is_err() {} });
    until("the renewal waits", async || {
        let waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        (!other.query(waiting, &[]).await.unwrap().is_empty()).then_some(())
    })
    .await;
    let take = "UPDATE service_gateway.outbox SET owner = $1 WHERE id = $2";
    other.execute(take, &[&thief, &ids[0]]).await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    renewing.await.unwrap();
    assert_eq!(lease.term(), Some(1));
    assert_eq!(outbox(&paused).await, [ids[1]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_gateway_that_nobody_remembers_are_not_forgotten() {
    let database = Database::new().await;
    let gone = database.open(LONG).await;
    let ids = submit_some(&gone, 1).await;
    drop(gone);
    database.client().await.batch_execute("DELETE FROM service_gateway.gateway").await.unwrap();
    let next = database.open(LONG).await;
    assert_eq!(adopt(&next, 100).await, [(ids[0], 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_forgotten_registers_again() {
    let database = Database::new().await;
    let store = database.open(LONG).await;
    database.client().await.batch_execute("DELETE FROM service_gateway.gateway").await.unwrap();
    accepted(&store, &accept()).await;
    sharing(&store).renew().await.unwrap();
    assert_eq!(sharing(&store).lease().term(), Some(1));
    accepted(&store, &accept()).await;
    let other = database.open(LONG).await;
    assert_eq!(adopt(&other, 100).await, []);
    assert_eq!(outbox(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_of_one_database_see_each_others_tasks() {
    let place = Place::postgres().await;
    let (one, other) = (place.open().await, place.open().await);
    let accept = accept();
    accepted(&one, &accept).await;
    assert_eq!(crate::load(&other, accept.task.id).await, Some(accept.task.clone()));
    // Cancelled at the one, confirmed at the other: the workers have to be told.
    commit(&other, NOW, vec![tell(accept.task.id, Fact::Cancelled)]).await;
    assert_eq!(outbox(&one).await, NONE, "it is never sent");
    let written = commit(&one, NOW, vec![tell(accept.task.id, Fact::Sent { attempts: 1 })]).await;
    assert!(matches!(&written[0], gateway_life::Written::Applied(_, change) if change.revoke));
    accepted(&other, &crate::accept()).await;
    assert_eq!(one.stats(None).await.unwrap().invocations, 2);
}

/// Tasks and keys in opposite orders, from several gateways at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_do_not_block_each_other() {
    let place = Place::postgres().await;
    let stores = futures_util::future::join_all((0..3).map(|_| place.open())).await;
    let ids = submit_some(&stores[0], 40).await;
    let work = stores.iter().enumerate().map(|(n, store)| {
        let (store, mut ids) = (store.clone(), ids.clone());
        tokio::spawn(async move {
            for round in 0..20 {
                ids.rotate_left(n + 3);
                if round % 2 == 0 {
                    ids.reverse();
                }
                let mut writes: Vec<_> = ids.iter().map(|id| tell(*id, Fact::Sent { attempts: round + 1 })).collect();
                writes.extend((0..10).map(|_| submit(&accept())));
                commit(&store, NOW, writes).await;
            }
        })
    });
    for worker in work.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert_eq!(stores[0].stats(None).await.unwrap().invocations, 40 + 3 * 20 * 10);
}
