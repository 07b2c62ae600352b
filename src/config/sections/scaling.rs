//! `[scaling]` and `[services.X.scaling]`

use super::{minutes, seconds};
use crate::schema::table;
use std::time::Duration;

table! {
    /// `[scaling]`: how many workers are asked for, over all services.
    pub struct Scaling {
        /// How often the need is computed. Default 30 s.
        pub interval: Duration = seconds(30),
        /// How many workers all services share; at least 1. Default 50.
        pub max_workers: u32 = 50,
        /// How many idle workers are kept; not above `max_workers`. Default 1.
        pub min_idle_workers: u32 = 1,
        /// How many waiting tasks make a backlog; at least 1. Default 3.
        pub backlog_threshold: u32 = 3,
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
    }
}
