//! The configuration: reads it, checks it, and tells every fault at once.
//!
//! A TOML file, then the environment, then the command line: [`load`] merges the three (with `figment`, which keeps
//! where each value came from), reads the tree into plain structures, and checks the rules between values. What comes
//! out is either a [`Loaded`] configuration without a fault, or [`Faults`]: each with its file or variable, its key
//! path, and what would be right. Nothing is connected and no name is resolved here.
//!
//! * Every key is one line in [`Config`]'s tables; name, type, default and schema come from that line alone.
//! * An unknown key is a fault that names the nearest known one.
//! * Texts from the environment are read as each key's type asks, never guessed: an all-digit key stays the text it is.
//! * A [`Secret`] prints as `***`, and no fault quotes one. `auth.key`, `auth.shared_key`, `broker.url`,
//!   `broker.result_backend` and `store.url` may also be given as `"env:NAME"` or `"file:PATH"`.
//! * Relative paths (the store's file, `files.directory`, pages and secrets in files) start at the current directory.
//!
//! ```
//! use std::path::Path;
//!
//! let text = "[auth]\nmode = \"none\"\n[services.stub.worker]\ncommand = [\"sha256sum\", \"{document}\"]\n";
//! let environment = [("GATEWAY_SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned())];
//! let loaded = gateway_config::parse(Some((Path::new("gateway.toml"), text)), environment, &[])?;
//! assert_eq!(loaded.config.server.listen.port(), 0);
//! assert_eq!(loaded.config.services["stub"].queue, "stub");
//!
//! let text = "[server]\nlistn = \"127.0.0.1:0\"\nmax_body = \"2 apples\"\n[auth]\nmode = \"none\"\n";
//! let faults = gateway_config::parse(Some((Path::new("gateway.toml"), text)), [], &[]).unwrap_err();
//! assert_eq!(faults.len(), 2);
//! assert!(faults.to_string().starts_with(
//!     "gateway.toml: server.listn: unknown key: did you mean `server.listen`?\n\
//!      gateway.toml: server.max_body: \"2 apples\": expected a size such as \"2 MiB\""
//! ));
//! # Ok::<(), gateway_config::Faults>(())
//! ```

mod env;
mod fault;
mod fields;
mod load;
mod reader;
mod schema;
mod secret;
mod sections;
mod units;
mod urls;
mod validate;

pub use fault::{Fault, Faults};
pub use load::{Loaded, PLACES, environment, load, parse};
pub use secret::Secret;
pub use sections::{
    About, Algorithm, Annotations, Argument, Auth, Broker, Config, Documents, Files, LogFormat, Mode, OnLost,
    PageSource, Pages, Pattern, Platform, PublicVerb, QueueType, Scaling, ScalingPolicy, Server, Service,
    ServiceScaling, Signal, Store, Telemetry, Worker,
};
pub use units::{LONGEST, Size, UnitError, parse_duration};
pub use urls::{BrokerUrl, HttpUrl, ResultBackend, SecretUrl, StoreUrl};
pub use validate::{Verdict, validate};

/// The paths of the keys whose values differ, as `services.words.worker.timeout`; a table that only one of the two has
/// is told as a whole. Shows no value, and so no secret.
pub fn differences(before: &Config, after: &Config) -> Vec<String> {
    use schema::Field;
    let mut paths = Vec::new();
    before.differ(after, "", &mut paths);
    paths
}

/// The paths of every key that holds a value, `*` for a name of the operator's choice: `services.*.worker.command`.
pub fn keys() -> Vec<String> {
    use schema::Field;
    schema::paths(Config::SHAPE, "")
}
