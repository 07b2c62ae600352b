//! PostgreSQL: the URL, TLS, and who is refused.

use crate::{
    NOW, accept, accepted,
    places::{Database, rig},
};
use service_gateway::store::{LeaseTimes, Postgres, Store, StoreError};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Postgres::open(url, LeaseTimes::default(), NOW).await?))
}

/// How many connections to this database are encrypted, and how many there are.
async fn encrypted(database: &Database) -> (i64, i64) {
    let asking = "SELECT count(*) FILTER (WHERE s.ssl), count(*) FROM pg_stat_ssl s \
                  JOIN pg_stat_activity a ON a.pid = s.pid WHERE a.application_name = 'service-gateway' \
                  AND a.datname = current_database()";
    let row = database.client().await.query_one(asking, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_encrypted_as_the_url_says() {
    let ca = rig("SG_TEST_POSTGRES_CA");
    let checked = format!("?sslmode=verify-full&sslrootcert={ca}");
    let given = format!("?sslmode=require&sslrootcert={ca}");
    for (query, all) in [
        ("?sslmode=disable", false),
        ("", true),
        ("?sslmode=prefer&connect_timeout=10", true),
        ("?sslmode=require", true),
        (&given, true),
        (&checked, true),
    ] {
        let database = Database::new().await;
        let store = open(&format!("{}{query}", database.url())).await.unwrap();
        accepted(&store, &accept()).await;
        let (encrypted, connections) = encrypted(&database).await;
        assert!(connections > 0, "{query}");
        assert_eq!(encrypted, if all { connections } else { 0 }, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_somebody_else_is_refused_when_asked_to_check() {
    let database = Database::new().await;
    // The system's certificates do not know the test's; a name that is not in the certificate is no better.
    let host = database.url().replace("127.0.0.1", "localhost");
    let ca = rig("SG_TEST_POSTGRES_CA");
    for url in
        [format!("{}?sslmode=verify-full", database.url()), format!("{host}?sslmode=verify-full&sslrootcert={ca}")]
    {
        let error = open(&url).await.err().expect("it is refused").to_string();
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_at_once_and_without_the_password() {
    let database = Database::new().await;
    let begun = Instant::now();
    for (url, words) in [
        (database.url().replace("secret", "canary"), "password authentication failed"),
        (
            rig("SG_TEST_POSTGRES_URL").replace("/postgres", "/nowhere").replace("postgres:/nowhere", "postgres:/"),
            "does not exist",
        ),
        (format!("{}?sslmode=maybe", database.url().replace("secret", "canary")), "sslmode"),
    ] {
        let error = open(&url).await.err().expect("it is refused").to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("canary") && !error.contains("secret"), "{error}");
    }
    // What is not told at once is tried again for 30 s each.
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_encoding_is_refused() {
    let database = Database::new().await;
    let client = database.client().await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let latin = format!("{name}_latin");
    let create = format!("CREATE DATABASE {latin} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    client.batch_execute(&create).await.unwrap();
    let refused = open(&database.url().replace(&name, &latin)).await;
    client.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await.unwrap();
    let error = refused.err().expect("it is refused").to_string();
    assert!(error.contains("UTF8"), "{error}");
}

/// A user that may not make a schema, where an administrator has made it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_privileges_works_in_a_schema_of_its_own() {
    let database = Database::new().await;
    let client = database.client().await;
    let user: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    client.batch_execute(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'")).await.unwrap();
    let url = database.url().replace("gateway:secret", &format!("{user}:secret"));
    let error = open(&url).await.err().expect("there is no schema").to_string();
    assert!(error.contains("permission denied"), "{error}");
    client.batch_execute(&format!("CREATE SCHEMA service_gateway AUTHORIZATION {user}")).await.unwrap();
    let store = open(&url).await.unwrap();
    accepted(&store, &accept()).await;
    drop(store);
    client.batch_execute(&format!("DROP SCHEMA service_gateway CASCADE; DROP ROLE {user}")).await.unwrap();
}

/// The first connection is there at once; one of the later ones is dropped without an answer, as by a server that is
/// busy or starts anew meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_connection_is_waited_for_like_the_first() {
    let database = Database::new().await;
    let mut url = url::Url::parse(&database.url()).unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    for deaf in 1..5 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let server = server.clone();
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(&server).await.unwrap();
                connections.spawn(async move {
                    match number == deaf {
                        true => tokio::time::sleep(Duration::from_secs(8)).await,
                        false => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
                    }
                });
            }
        });
        let store = open(&format!("{url}?sslmode=disable")).await.unwrap_or_else(|error| panic!("{deaf}: {error}"));
        accepted(&store, &accept()).await;
        drop(store);
        passing.abort();
    }
}

/// A connection that ends in the middle of bringing the schema up is made again, and so is what was begun on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_connection_that_is_lost_is_made_again() {
    let database = Database::new().await;
    let client = database.client().await;
    // Where gateways that start at the same time wait for each other: see schema.rs.
    client.batch_execute("SELECT pg_advisory_lock(x'53474d4947524154'::bigint)").await.unwrap();
    let url = database.url();
    let opening = tokio::spawn(async move { open(&url).await });
    for _ in 0..2 {
        let mut ended = 0;
        while ended == 0 {
            assert!(!opening.is_finished(), "it gave up");
            let waiting = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                           WHERE wait_event = 'advisory' AND datname = current_database()";
            ended = client.query(waiting, &[]).await.unwrap().len();
        }
    }
    client.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    let store = opening.await.unwrap().unwrap();
    accepted(&store, &accept()).await;
}
