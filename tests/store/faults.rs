//! PostgreSQL: connections and answers that are lost. Whatever happens, a commit that is told to be written is, one
//! that is told not to be is not, and nothing is written twice.

use crate::{NOW, accept, heard, load, places::Database, proxy::Proxy, submit, tell};
use gateway_life::{Accept, CommitFault, State, Write, Written};
use service_gateway::store::{LeaseTimes, Postgres, Store};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A store behind a network of ours.
struct Behind {
    database: Database,
    proxy: Proxy,
    store: Arc<dyn Store>,
}

impl Behind {
    async fn new() -> Self {
        let database = Database::new().await;
        let server = url::Url::parse(&database.url()).unwrap();
        let proxy = Proxy::to(&format!("{}:{}", server.host_str().unwrap(), server.port().unwrap()));
        let url = database.url_through(proxy.address());
        let store = Arc::new(Postgres::open(&url, LeaseTimes::default(), NOW).await.unwrap());
        let behind = Self { database, proxy, store };
        behind.up().await;
        behind
    }

    /// Waits until the store can be used.
    async fn up(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.store.fault().is_some() {
            assert!(Instant::now() < deadline, "{:?}", self.store.fault());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the store has noticed that it cannot.
    async fn down(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.store.fault().is_none() {
            assert!(Instant::now() < deadline, "it is still up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn count(&self, what: &str) -> i64 {
        self.database.client().await.query_one(what, &[]).await.unwrap().get(0)
    }

    /// What is in the database is what the store has told, and the count agrees.
    async fn holds(&self, told: &[Accept]) {
        self.up().await;
        let (tasks, counted) = (
            self.count("SELECT count(*) FROM service_gateway.task").await,
            self.count("SELECT coalesce(sum(count), 0)::bigint FROM service_gateway.accepted").await,
        );
        assert_eq!((tasks, counted), (told.len() as i64, told.len() as i64));
        for accept in told {
            assert!(load(&self.store, accept.task.id).await.is_some());
        }
    }
}

fn writes(accepts: &[Accept]) -> Vec<Write> {
    accepts.iter().map(submit).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_it_says_so_at_once_and_comes_back() {
    let behind = Behind::new().await;
    let first = [accept()];
    behind.store.commit(NOW, writes(&first)).await.unwrap();
    behind.proxy.cut();
    // Before that is noticed a commit could be sent, and then nobody would know what became of it.
    behind.down().await;
    // The connection may take a second to be back, nothing takes longer; whoever waited for an answer would wait for 10 s.
    let begun = Instant::now();
    let fault = behind.store.commit(NOW, vec![submit(&accept())]).await.unwrap_err();
    assert!(
        matches!(&fault, CommitFault::NotWritten(why) if why.contains("PostgreSQL cannot be reached")),
        "{fault:?}"
    );
    assert!(behind.store.load(first[0].task.id).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let again = Instant::now();
    assert!(behind.store.commit(NOW, vec![submit(&accept())]).await.is_err());
    assert!(behind.store.load(first[0].task.id).await.is_err());
    assert!(again.elapsed() < Duration::from_secs(10), "{:?}", again.elapsed());
    assert!(behind.store.fault().unwrap().contains("PostgreSQL cannot be reached"));
    behind.proxy.heal();
    behind.up().await;
    let second = [accept()];
    behind.store.commit(NOW, writes(&second)).await.unwrap();
    behind.holds(&[first, second].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_between_commits_is_not_noticed() {
    let behind = Behind::new().await;
    let all: Vec<Accept> = (0..10).map(|_| accept()).collect();
    let mut noticed = 0;
    for accept in &all {
        // A new connection is waited for, but for a second only.
        while let Err(fault) = behind.store.commit(NOW, vec![submit(accept)]).await {
            assert!(matches!(&fault, CommitFault::NotWritten(why) if why.contains("cannot be reached")), "{fault:?}");
            noticed += 1;
            behind.up().await;
        }
        behind.proxy.cut();
        behind.proxy.heal();
    }
    assert!(noticed < 5, "it takes no second to connect most of the time: {noticed}");
    behind.holds(&all).await;
}

/// The commit arrived, its answer did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_asked_for() {
    let behind = Behind::new().await;
    let all: Vec<Accept> = (0..3).map(|_| accept()).collect();
    behind.store.commit(NOW, vec![submit(&all[0])]).await.unwrap();
    behind.proxy.lose_answers();
    // No reads come first: all of it goes in one round trip, COMMIT included.
    let committing = tokio::spawn(behind.store.commit(NOW, writes(&all[1..])));
    while behind.count("SELECT count(*) FROM service_gateway.task").await < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    behind.proxy.cut();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!committing.is_finished(), "nobody can know now");
    behind.proxy.heal();
    let written = committing.await.unwrap().unwrap();
    let expected: Vec<_> = all[1..].iter().map(|accept| Written::Accepted(accept.task.clone())).collect();
    assert_eq!(written, expected);
    behind.holds(&all).await;
    let written = behind.store.commit(NOW, vec![tell(all[2].task.id, heard(State::Success))]).await.unwrap();
    assert!(matches!(&written[0], Written::Applied(task, _) if task.seq == 2), "{written:?}");
}

/// The commit did not arrive: it is repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_repeated() {
    let behind = Behind::new().await;
    let all: Vec<Accept> = (0..2).map(|_| accept()).collect();
    behind.proxy.lose_requests();
    let committing = tokio::spawn(behind.store.commit(NOW, writes(&all)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    behind.proxy.cut();
    behind.proxy.heal();
    assert_eq!(committing.await.unwrap().unwrap().len(), 2);
    behind.holds(&all).await;
}

/// The answer is lost while the server still works on the commit: asking waits for it, or takes its turn away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_under_way_when_it_is_asked_for_is_not_written_twice() {
    let behind = Behind::new().await;
    let all = [accept()];
    // Somebody holds what the commit needs, so that it waits in the middle.
    let other = behind.database.client().await;
    other.batch_execute("BEGIN; LOCK TABLE service_gateway.task IN SHARE MODE").await.unwrap();
    let committing = tokio::spawn(behind.store.commit(NOW, writes(&all)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    behind.proxy.cut();
    behind.proxy.heal();
    tokio::time::sleep(Duration::from_millis(500)).await;
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(committing.await.unwrap(), Ok(vec![Written::Accepted(all[0].task.clone())]));
    behind.holds(&all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network() {
    let behind = Behind::new().await;
    let mut told = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(300);
    // A busy machine may take longer to connect than the second that is waited for that: there are rounds until enough of
    // them have succeeded.
    let mut round = 0_u64;
    while round < 40 || told.len() <= 30 {
        let batch: Vec<Accept> = (0..3).map(|_| accept()).collect();
        let mut all = writes(&batch);
        all.push(tell(batch[0].task.id, heard(State::Started)));
        let committing = tokio::spawn(behind.store.commit(NOW, all));
        // Somewhere in the middle of it, or after it.
        tokio::time::sleep(Duration::from_micros(round * 167 % 2_500)).await;
        match round % 3 {
            0 => behind.proxy.lose_answers(),
            1 => behind.proxy.lose_requests(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        behind.proxy.cut();
        behind.proxy.heal();
        match committing.await.unwrap() {
            Ok(written) => {
                assert!(matches!(&written[3], Written::Applied(task, _) if task.seq == 2), "{written:?}");
                told.extend(batch);
            }
            Err(CommitFault::NotWritten(_)) => {}
            Err(unknown) => panic!("{unknown:?}"),
        }
        assert!(Instant::now() < deadline, "too slow: round {round}, {} succeeded", told.len());
        round += 1;
    }
    behind.holds(&told).await;
}

/// A transaction that a stopped process has left open does not hold up the others for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_not_given_back_is_not_waited_for() {
    let behind = Behind::new().await;
    let all = [accept()];
    behind.store.commit(NOW, writes(&all)).await.unwrap();
    let other = behind.database.client().await;
    other.batch_execute("BEGIN; SELECT * FROM service_gateway.task FOR UPDATE").await.unwrap();
    let begun = Instant::now();
    let success = vec![tell(all[0].task.id, heard(State::Success))];
    let fault = behind.store.commit(NOW, success.clone()).await.unwrap_err();
    assert!(matches!(fault, CommitFault::NotWritten(_)), "{fault:?}");
    assert!(begun.elapsed() < Duration::from_secs(90));
    other.batch_execute("ROLLBACK").await.unwrap();
    behind.store.commit(NOW, success).await.unwrap();
    assert_eq!(load(&behind.store, all[0].task.id).await.unwrap().state, State::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_than_before_is_unknown() {
    let behind = Behind::new().await;
    behind.store.commit(NOW, vec![submit(&accept())]).await.unwrap();
    behind.proxy.lose_answers();
    let committing = tokio::spawn(behind.store.commit(NOW, vec![submit(&accept())]));
    while behind.count("SELECT count(*) FROM service_gateway.task").await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // As from a backup: the gateway's row tells of a time long ago.
    behind.database.client().await.batch_execute("UPDATE service_gateway.gateway SET batch = -7").await.unwrap();
    behind.proxy.cut();
    behind.proxy.heal();
    assert!(matches!(committing.await.unwrap(), Err(CommitFault::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_from_a_backup_takes_no_further_commit() {
    let behind = Behind::new().await;
    behind.store.commit(NOW, vec![submit(&accept())]).await.unwrap();
    behind.database.client().await.batch_execute("UPDATE service_gateway.gateway SET batch = -7").await.unwrap();
    // Not "not now": it would be refused for ever, and what was accepted before may be gone.
    let refused = behind.store.commit(NOW, vec![submit(&accept())]).await;
    assert!(matches!(refused, Err(CommitFault::Unknown(_))), "{refused:?}");
}
