//! Reaching out: which URLs are admitted, and the one HTTP client that fetches documents from them and hands results in.
//!
//! A URL is judged three times, because each time more is known about it:
//!
//! 1. [`Policy::admit`] judges its text: pure, nothing is resolved. This is what a submission goes through.
//! 2. [`Client`] judges the addresses that its name resolves to, at the moment it connects: a name that meant a
//!    public address yesterday and `127.0.0.1` today is refused today.
//! 3. [`Client`] judges each redirect as if it were a new URL.
//!
//! ```
//! use gateway_outside::{Fault, Policy};
//!
//! let policy = Policy::default().always("http://localhost:5002/get/{storage_doc_id}")?;
//! assert_eq!(policy.admit("http://example.org/é.wav")?.as_str(), "http://example.org/%C3%A9.wav");
//! assert!(policy.admit("http://localhost:5002/get/abc.wav").is_ok());
//! assert!(matches!(policy.admit("http://example.org"), Err(Fault::Invalid(_)))); // no path
//! assert!(matches!(policy.admit("http://0x7f.1/passwords"), Err(Fault::NotAllowed(_)))); // 127.0.0.1
//! # Ok::<(), Fault>(())
//! ```

mod address;
mod client;
mod download;
mod exchange;
mod policy;
mod redact;
mod resolve;
mod upload;

pub use client::{Client, ClientFault, Limits, plain_client};
pub use download::{DownloadFault, Downloaded, extension};
pub use exchange::{ExchangeFault, Reply};
pub use policy::{Fault, MAX_URL, Policy};
pub use redact::redact;
