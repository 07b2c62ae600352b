//! Makes of a configuration what a start makes of it, but for what needs others: so that `check` finds what `serve` would
//! fail at.

use super::serve::settings;
use crate::{locate, plan::Plan, setup, store::Postgres};
use gateway_config::{BrokerUrl, Config, Fault, Faults, ResultBackend, StoreUrl};
use std::fmt::Display;
use uuid::Uuid;

/// Fails with every reason why a gateway could not start with this checked configuration.
pub(super) fn rehearse(config: &Config) -> Result<(), Faults> {
    let mut faults = Vec::new();
    let plan = Plan::new(config, Uuid::nil());
    note(&mut faults, "", setup::routes(&plan));
    note(&mut faults, "", setup::pages(config, &plan));
    note(&mut faults, "", setup::keys(config).and_then(|keys| setup::policy(config, keys.as_ref())));
    note(&mut faults, "", locate::policy(config, None));
    note(&mut faults, "server.public_url", settings(config).check());
    if let BrokerUrl::Amqp(url) = &config.broker.url {
        note(&mut faults, "broker.url", gateway_amqp::Address::parse(url.expose()));
    }
    if let ResultBackend::Redis(url) = &config.broker.result_backend {
        note(&mut faults, "broker.result_backend", gateway_redis::Address::parse(url.expose()));
    }
    if let StoreUrl::Postgres(url) = &config.store.url {
        note(&mut faults, "", Postgres::check(url.expose()));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.into()) }
}

fn note<T>(faults: &mut Vec<Fault>, key: &str, made: Result<T, impl Display>) {
    if let Err(why) = made {
        faults.push(Fault { source: String::new(), key: key.to_owned(), reason: why.to_string() });
    }
}
