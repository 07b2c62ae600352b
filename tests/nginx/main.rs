//! Gateways behind a real NGINX, with the files of `config/nginx/` as they are shipped: only addresses, paths and the
//! rate limit are put in.
//!
//! | file | what is held |
//! |---|---|
//! | `proxy.rs` | an NGINX with those files |
//! | `links.rs` | prefix, TLS, forged headers, request ids, error pages, what is not for clients |
//! | `retries.rs` | what is tried again at another gateway, and what never is |
//! | `rolling.rs` | two gateways are restarted under load, and no request fails |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../support/postgres.rs"]
#[allow(dead_code)] // shared with other test programs
mod postgres;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

mod links;
mod proxy;
mod retries;
mod rolling;

/// Every request is admitted.
const OPEN: &str = "[auth]\nmode = \"none\"\n";

/// A service that needs no document and says a number.
const STUB: &str = "[services.stub]\nrequires_document = false\n[services.stub.worker]\ncommand = [\"echo\", \"1\"]\n";
