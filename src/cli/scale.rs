//! `service-gateway scale`

use super::{ConfigFile, NO_TOKENS, client::Http, exit, failed, logs, serve::Stop};
use crate::{engine::now, scale::Scaler};
use std::{process::ExitCode, time::Duration};

/// Between two rounds at least.
const SHORTEST: Duration = Duration::from_millis(500);

/// Start and stop workers as the gateway says they are needed
///
/// For machines without an orchestrator. Workers are run on this machine, or by commands of yours: see
/// [services.X.scaling] in the configuration. When the daemon ends the workers go on (in a systemd unit: KillMode=process); the next one
/// knows them.
#[derive(clap::Args)]
pub(super) struct Scale {
    #[command(flatten)]
    config: ConfigFile,
    /// The gateway
    #[arg(long, value_name = "URL", env = "SERVICE_GATEWAY_URL", default_value = "http://127.0.0.1:5000")]
    url: String,
    /// A token, if `needs` is not public
    #[arg(long, value_name = "JWT", env = "SERVICE_GATEWAY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Which services; all that can be scaled if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

impl Scale {
    pub(super) fn run(self) -> ExitCode {
        exit(self.scale())
    }

    fn scale(self) -> Result<(), ExitCode> {
        let loaded = self.config.load_without(&NO_TOKENS)?;
        let export = logs::start(&loaded.config.telemetry, "service-gateway-scale", false).map_err(failed)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let http = Http::new(&self.url, self.token.clone()).map_err(failed)?;
        let scaler = Scaler::new(&loaded.config, self.config.config.clone(), &self.services).map_err(failed)?;
        let interval = loaded.config.scaling.interval.max(SHORTEST);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let scaled = runtime.block_on(rounds(scaler, &http, interval));
        export.stop();
        scaled
    }
}

/// Until a signal; a round under way is finished, so that nothing is started that is not written down.
async fn rounds(mut scaler: Scaler, http: &Http, interval: Duration) -> Result<(), ExitCode> {
    let mut stop = Stop::new().map_err(failed)?;
    tracing::info!(?interval, "scaling");
    loop {
        match scaler.holds().await {
            Ok(true) => match http.get("needs").await {
                Ok(needs) => scaler.act(&needs, now()).await.map_err(failed)?,
                Err(why) => tracing::warn!(why, "what is needed is not known: nothing is done"),
            },
            Ok(false) => {}
            Err(why) => tracing::warn!(%why, "whether this daemon acts is not known: nothing is done"),
        }
        tokio::select! {
            () = stop.asked() => {
                tracing::info!("stopped; the workers go on");
                return Ok(());
            }
            () = tokio::time::sleep(interval) => {}
        }
    }
}
