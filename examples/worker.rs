//! A worker in Rust: counts the words of a text, for the service `words`.
//!
//! ```sh
//! cargo run --example worker -- amqp://guest:guest@localhost:5672/
//! ```
//!
//! The gateway knows it as a service like any other: `[services.words]` with `requires_document = false`, and
//! `broker.url` as above. Then: `service-gateway submit words --arg text="as many as these"`, or any HTTP client.
//!
//! Such a program needs the crate `gateway-worker` alone, and compiles neither the gateway nor its stores.

use gateway_worker::{
    Address, Client, Failure, GuardCommand, HandlerProgress, HandlerTask, Limits, Policy, RunnerSettings, Service,
    Stop, WorkerOptions, work,
};
use serde_json::{Value, json};
use std::{error::Error, time::Duration};

/// The handler: an `Err` is the task's FAILURE, with the class by which clients know it.
async fn count(task: HandlerTask, progress: HandlerProgress) -> Result<Value, Failure> {
    let text = task.argument["service"]["misc"]["text"].as_str();
    let text = text.ok_or_else(|| Failure::new("MissingParameterError", "give text=…"))?;
    let words: Vec<_> = text.split_whitespace().collect();
    for n in 1..=words.len() {
        // As if each took its time.
        tokio::time::sleep(Duration::from_millis(100)).await;
        progress.tell(100.0 * n as f64 / words.len() as f64);
    }
    Ok(json!({ "words": words.len() }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
    let url = std::env::args().nth(1).ok_or("give the broker's URL: amqp://user:password@host:5672/vhost")?;
    let client = Client::new(Policy::default(), Limits::default())?;
    // Where programs would run; this worker has none.
    let runs = std::env::temp_dir().join(format!("words-{}.runs", std::process::id()));
    let runner = RunnerSettings::new(runs, GuardCommand::this_binary(), client);
    let service = Service { concurrency: 4, version: "1.0".into(), ..Service::handled("words", count) };
    let options = WorkerOptions::new(Address::parse(&url)?, vec![service], runner);

    // Ctrl-C: what runs may end; once more: it is given to another worker.
    let stop = Stop::default();
    let asked = stop.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            asked.again();
        }
    });
    Ok(work(options, stop).await?)
}
