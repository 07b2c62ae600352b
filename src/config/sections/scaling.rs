//! `[scaling]` and `[services.X.scaling]`

use super::{minutes, seconds};
use crate::{fields::choice, schema::table};
use std::{path::PathBuf, time::Duration};

choice! {
    /// `policy`: how the need is computed.
    pub enum ScalingPolicy {
        /// By load and deadline.
        Load = "load",
        /// So many workers for each task.
        Backlog = "backlog",
        /// The original gateway's rule.
        Original = "original",
    }
}

table! {
    /// `[scaling]`: how many workers are wanted, over all services.
    pub struct Scaling {
        /// How often the need is computed while nobody asks, and how often `service-gateway scale` acts. Default 30 s.
        pub interval: Duration = seconds(30),
        /// How the need is computed. Default: load.
        pub policy: ScalingPolicy = ScalingPolicy::Load,
        /// How many workers all services share; at least 1. Default 50.
        pub max_workers: u32 = 50,
        /// How many idle workers are kept; not above `max_workers`. Default 1.
        pub min_idle_workers: u32 = 1,
        /// How many waiting tasks make a backlog; at least 1. Default 3.
        pub backlog_threshold: u32 = 3,
        /// Where `service-gateway scale` keeps which workers it has started. Default: scaling.json.
        pub state: PathBuf = "scaling.json".into(),
    }
}

table! {
    /// `[services.X.scaling]`: how many workers one service is given.
    pub struct ServiceScaling {
        /// Workers per waiting task; above 0. Default 0.2.
        pub spawn_ratio: f64 = 0.2,
        /// How long a task may wait in the queue. Default 5 min.
        pub target_wait: Duration = minutes(5),
        /// How long a new worker takes to be ready. Default 60 s.
        pub start_time: Duration = seconds(60),
        /// How many workers it may have; at least 1. Default 10.
        pub max_workers: u32 = 10,
        /// How many tasks a worker runs at once, where it is not ours (ours: `worker.concurrency`); at least 1. Default 1.
        pub worker_slots: u16 = 1,
        /// How long a worker that is not needed is kept. Default: `start_time`, and at least two intervals.
        pub keep_idle: Option<Duration> = None,
        /// The command with which `service-gateway scale` starts a worker; none = it runs `service-gateway worker` here.
        pub spawn: Vec<String> = Vec::new(),
        /// The command that has a worker finish its tasks and end.
        pub stop: Vec<String> = Vec::new(),
        /// The command that prints the names of the workers there are.
        pub list: Vec<String> = Vec::new(),
    }
}
