//! Where stored documents are, and which URLs may be sent to workers.

use crate::setup::StartError;
use gateway_config::Config;
use gateway_contract::{Locate, Rejection, code};
use gateway_outside::{Fault, Policy};
use std::{net::SocketAddr, sync::Arc};

/// `[documents]` and `[annotations]` for the document layer.
#[derive(Clone, Debug)]
pub struct Documents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Policy,
    get_url: Option<String>,
    upload_url: Option<String>,
    post_url: Option<String>,
}

impl Documents {
    /// From a checked configuration.
    pub fn new(config: &Config, policy: Policy) -> Self {
        let text = |url: &Option<gateway_config::HttpUrl>| url.as_ref().map(|url| url.as_str().to_owned());
        Self(Arc::new(Inner {
            policy,
            get_url: text(&config.documents.get_url),
            upload_url: text(&config.documents.upload_url),
            post_url: text(&config.annotations.post_url),
        }))
    }
}

/// The document URL policy of a checked configuration.
///
/// Our own temporary files are admitted by the host of `server.public_url`, which their URLs then begin with. Without a
/// `public_url` they begin with what the request says our host is: that is no reason to admit a host, so then such a
/// URL is admitted only if it leads to where we are `listening`.
pub(crate) fn policy(config: &Config, listening: Option<SocketAddr>) -> Result<Policy, StartError> {
    let policy = configured(config)?;
    Ok(match listening {
        Some(listening) => policy.with_own(listening, "/temporary_file/"),
        None => policy,
    })
}

/// Where the steps of a workflow may be submitted: to what documents may come from, and to ourselves.
pub(crate) fn steps(config: &Config, listening: Option<SocketAddr>) -> Result<Policy, StartError> {
    // Whatever documents may be, a gateway speaks HTTP.
    let policy = configured(config)?.with_schemes(["http", "https"]);
    Ok(match listening {
        Some(listening) => policy.with_own(listening, "/"),
        None => policy,
    })
}

fn configured(config: &Config) -> Result<Policy, StartError> {
    let fault = |fault: Fault| StartError::Documents(fault.to_string());
    let mut policy = Policy::default()
        .with_schemes(&config.documents.schemes)
        .with_private_networks(config.documents.allow_private_networks);
    for host in &config.documents.allow_hosts {
        policy = policy.allow_host(host).map_err(fault)?;
    }
    let ours = [
        &config.documents.get_url,
        &config.documents.upload_url,
        &config.annotations.post_url,
        &config.server.public_url,
    ];
    for url in ours.into_iter().flatten() {
        policy = policy.always(url.as_str()).map_err(fault)?;
    }
    Ok(policy)
}

/// Everything but unreserved characters (RFC 3986) is encoded: an id is one path segment or one query value.
fn encode(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}

fn fill(template: &Option<String>, place: &str, id: &str, what: &str, key: &str) -> Result<String, Rejection> {
    match template {
        Some(template) => Ok(template.replace(place, &encode(id))),
        None => Err(Rejection::client(
            code::MISSING_PARAMETER,
            format!("this gateway knows no {what} ({key} is not configured): give a URL instead of an id"),
        )),
    }
}

impl Locate for Documents {
    fn document(&self, id: &str) -> Result<String, Rejection> {
        fill(&self.0.get_url, "{storage_doc_id}", id, "storage service", "documents.get_url")
    }

    fn annotations(&self, id: &str) -> Result<String, Rejection> {
        fill(&self.0.post_url, "{ann_doc_id}", id, "annotation storage service", "annotations.post_url")
    }

    fn admit(&self, name: &str, url: &str) -> Result<String, Rejection> {
        self.0.policy.admit(url).map(Into::into).map_err(|fault| match fault {
            Fault::Invalid(why) => Rejection::client(code::INVALID_URL, format!("{name}: {why}")),
            Fault::NotAllowed(why) => Rejection::client(code::URL_NOT_ALLOWED, format!("{name}: {why}")),
        })
    }

    fn upload(&self) -> Option<String> {
        self.0.upload_url.clone()
    }
}
