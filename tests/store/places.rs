//! Where a store is: a file in a directory, or a database, of the test's own.

use crate::NOW;
use service_gateway::store::{LeaseTimes, Postgres, Sqlite, Store, StoreError};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Removed when it is dropped.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(TempDir::with_prefix("sg-test-store-").unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        Self::Postgres(Database::new().await)
    }

    /// The store there. SQLite: once at a time.
    pub(crate) async fn try_open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(directory) => {
                let file = directory.path().join("store.db");
                Arc::new(tokio::task::spawn_blocking(move || Sqlite::open(Some(&file), NOW)).await.unwrap()?)
            }
            Self::Postgres(database) => database.try_open(LeaseTimes::default()).await?,
        })
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.try_open().await.unwrap()
    }

    /// Closes the store, opens it again as the next process does, and takes up what the last one left.
    pub(crate) async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        if let Some(sharing) = store.sharing() {
            sharing.release(Vec::new()).await.unwrap();
        }
        assert_eq!(Arc::strong_count(&store), 1, "somebody still holds the store");
        drop(store);
        let store = self.open().await;
        if let Some(sharing) = store.sharing() {
            while !sharing.adopt(100).await.unwrap().is_empty() {}
        }
        store
    }
}

/// A database of its own on the test rig's PostgreSQL.
pub(crate) struct Database {
    name: String,
}

/// A variable that the test rig sets. There is no test without it, and no test that passes by not running.
#[track_caller]
pub(crate) fn rig(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test needs the test rig; run tests/run"))
}

impl Database {
    pub(crate) async fn new() -> Self {
        let name = format!("sg_{}", Uuid::now_v7().simple());
        let administrator = connect(&rig("SG_TEST_POSTGRES_URL")).await;
        administrator.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { name }
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(&rig("SG_TEST_POSTGRES_URL"))
    }

    /// The same database behind another address (`host:port`).
    pub(crate) fn url_through(&self, address: std::net::SocketAddr) -> String {
        let mut url = url::Url::parse(&self.url()).unwrap();
        url.set_ip_host(address.ip()).unwrap();
        url.set_port(Some(address.port())).unwrap();
        // As plain text, so that the proxy sees what it cuts.
        format!("{url}?sslmode=disable")
    }

    fn url_at(&self, server: &str) -> String {
        let mut url = url::Url::parse(server).unwrap();
        url.set_path(&self.name);
        url.into()
    }

    pub(crate) async fn try_open(&self, times: LeaseTimes) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(Postgres::open(&self.url(), times, NOW).await?))
    }

    /// A gateway's store whose lease has these times.
    pub(crate) async fn open(&self, times: LeaseTimes) -> Arc<dyn Store> {
        self.try_open(times).await.unwrap()
    }

    /// Somebody else's connection.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), rig("SG_TEST_POSTGRES_URL"));
        // The test's own runtime cannot wait here.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                connect(&server).await.batch_execute(&drop).await.unwrap();
            });
        });
        if dropping.join().is_err() && !std::thread::panicking() {
            panic!("the test's database could not be dropped");
        }
    }
}

async fn connect(url: &str) -> Client {
    let connecting = tokio_postgres::connect(url, NoTls);
    let (client, connection) = tokio::time::timeout(Duration::from_secs(30), connecting).await.unwrap().unwrap();
    tokio::spawn(connection);
    client
}
