//! `[files]`

use super::hours;
use crate::{schema::table, units::Size};
use std::{path::PathBuf, time::Duration};

table! {
    /// `[files]`: temporary files.
    pub struct Files {
        /// Where they are kept; a relative path starts at the current directory. Default `files`.
        pub directory: PathBuf = "files".into(),
        /// How large they may be together; not below `max_file`. Default 10 GiB.
        pub max_total: Size = Size::of(10 << 30),
        /// How large one may be. Default 1 GiB.
        pub max_file: Size = Size::of(1 << 30),
        /// How long one is kept. Default 24 h.
        pub keep: Duration = hours(24),
    }
}
