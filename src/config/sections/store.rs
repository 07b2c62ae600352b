//! `[store]`

use super::{days, hours};
use crate::{schema::table, urls::StoreUrl};
use std::time::Duration;

table! {
    /// `[store]`: where tasks are written down.
    pub struct Store {
        /// Which store. Default: the SQLite file `gateway.db` in the current directory.
        pub url: StoreUrl = StoreUrl::Sqlite("gateway.db".into()),
        /// How long a result is kept after the task's end; then EXPIRED. Default 2 h.
        pub keep_results: Duration = hours(2),
        /// How long it is known that the task existed; not shorter than `keep_results`. Default 30 days.
        pub keep_records: Duration = days(30),
        /// How long a sent task may give no sign of life before it is EXPIRED. Default 24 h.
        pub task_timeout: Duration = hours(24),
    }
}
