//! Opened again, and by another version.

use crate::{accept, accepted, load, places::Place};
use service_gateway::store::StoreError;

both!(opened_again_it_is_the_same_installation, a_newer_schema_is_refused);

async fn opened_again_it_is_the_same_installation(place: Place) {
    let store = place.open().await;
    let (installation, accept) = (store.installation(), accept());
    accepted(&store, &accept).await;
    let store = place.reopen(store).await;
    assert_eq!(store.installation(), installation);
    assert!(load(&store, accept.task.id).await.is_some());
    assert!(store.fault().is_none());
}

async fn a_newer_schema_is_refused(place: Place) {
    drop(place.open().await);
    match &place {
        Place::Sqlite(directory) => {
            let connection = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
            connection.pragma_update(None, "user_version", 1000).unwrap();
        }
        Place::Postgres(database) => {
            let client = database.client().await;
            client.execute("UPDATE service_gateway.version SET version = 1000", &[]).await.unwrap();
        }
    }
    let error = place.try_open().await.err().expect("it is refused");
    assert!(matches!(error, StoreError::TooNew { found: 1000, .. }), "{error}");
    assert!(error.to_string().contains("run a newer service-gateway"), "{error}");
}

/// Gateways that are started together on an empty database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_make_the_schema_at_once() {
    let place = Place::postgres().await;
    let stores = futures_util::future::join_all((0..4).map(|_| place.open())).await;
    assert!(stores.iter().all(|store| store.installation() == stores[0].installation()));
}
