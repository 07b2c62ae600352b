//! `[broker]`

use super::{days, seconds};
use crate::{
    schema::table,
    urls::{BrokerUrl, ResultBackend},
};
use std::time::Duration;

table! {
    /// `[broker]`: the message broker that carries tasks to workers.
    pub struct Broker {
        /// Which broker. Default: embedded.
        pub url: BrokerUrl = BrokerUrl::Embedded,
        /// The first part of a task's name on the wire, `<app>.<task>`. Default `worker`.
        pub app: String = "worker".to_owned(),
        /// How workers send their results. Default: rpc.
        pub result_backend: ResultBackend = ResultBackend::Rpc,
        /// Celery's message protocol: 2, or 1 for Celery 3.1. Default 2.
        pub task_protocol: u8 = 2,
        /// How long workers keep results in the `amqp` backend, as they have it: so long a result is still heard after an
        /// end that was only presumed. The gateway never declares their queues, so a difference does no harm.
        /// Default 1 day.
        pub result_expires: Duration = days(1),
        /// The reply queue of `rpc`; empty = `service-gateway.replies.<installation>`.
        pub reply_queue: String = String::new(),
        /// How long the broker may take to confirm a task. Default 5 s.
        pub publish_timeout: Duration = seconds(5),
        /// How many tasks may be accepted and not yet confirmed by the broker; one queue may hold half of it.
        /// At least 2. Default 10000.
        pub outbox_depth: u32 = 10_000,
    }
}
