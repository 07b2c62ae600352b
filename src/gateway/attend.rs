//! Sees to it that what must not end does not end unnoticed.

use std::sync::Arc;
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle, JoinSet},
};

/// Waits for the engine's end. A panic, of the engine or of one of the others, is the gateway's failure: a process that
/// went on would accept nothing, or leave tasks open for ever.
pub(super) async fn attend(
    mut engine: JoinHandle<()>,
    mut others: JoinSet<()>,
    failed: &watch::Sender<Option<Arc<str>>>,
) {
    loop {
        tokio::select! {
            ended = &mut engine => return notice(ended, failed),
            Some(ended) = others.join_next() => notice(ended, failed),
        }
    }
}

fn notice(ended: Result<(), JoinError>, failed: &watch::Sender<Option<Arc<str>>>) {
    if let Err(panic) = ended {
        tracing::error!(%panic, "a part of the gateway has ended: this process has to be replaced");
        failed.send_if_modified(|known| {
            // The first reason counts.
            known.is_none() && known.replace("a part of the gateway ended by a panic".into()).is_none()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gateway, Options, setup::StartError};
    use futures_util::FutureExt;
    use gateway_config::{Config, PageSource};

    #[tokio::test]
    async fn a_panic_of_the_engine_or_of_another_part_is_the_gateways_failure() {
        let panics = || async { panic!("on purpose") };
        let (failed, _keep) = watch::channel(None);
        attend(tokio::spawn(panics()), JoinSet::new(), &failed).await;
        assert!(failed.borrow().is_some());

        let (failed, mut seen) = watch::channel(None);
        let mut others = JoinSet::new();
        others.spawn(panics());
        let (go, waits) = tokio::sync::oneshot::channel();
        let engine = tokio::spawn(async { waits.await.expect("it is told") });
        let attended = async {
            seen.wait_for(Option::is_some).await.expect("a reason");
            go.send(()).expect("the engine goes on until then");
        };
        tokio::join!(attend(engine, others, &failed), attended);
    }

    fn config(store: &str) -> Config {
        let text = format!("[store]\nurl = \"{store}\"\n[auth]\nmode = \"none\"\n");
        let file = Some((std::path::Path::new("test.toml"), &*text));
        gateway_config::parse(file, [], &[]).expect("a configuration").config
    }

    #[tokio::test]
    async fn a_start_that_fails_leaves_the_store_to_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let good = config(&format!("sqlite:{}", directory.path().join("store").display()));
        let mut bad = good.clone();
        bad.platform.pages.home = Some(PageSource::File(directory.path().join("gone.html")));
        let failed = Gateway::start(&bad, Options::default()).await;
        assert!(matches!(failed, Err(StartError::PageFile { .. })), "{failed:?}");
        // One process a file: had its thread gone on, the file would be in use.
        let gateway = Gateway::start(&good, Options::default()).await.expect("the file is free");
        gateway.stop().await;
    }

    #[tokio::test]
    async fn a_gateway_whose_thread_has_ended_is_not_alive() {
        let config = config("sqlite::memory:");
        let gateway = Gateway::start(&config, Options::default()).await.expect("it starts");
        gateway.alive().await;
        gateway.stop().await;
        assert!(gateway.alive().now_or_never().is_none());
    }
}
