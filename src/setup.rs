//! From a checked configuration to what the layers are made of. Pure, but for reading page files.

use crate::{
    keys::Published,
    plan::{Plan, ServicePlan},
    store::StoreError,
};
use gateway_auth::{Policy, PolicyError};
use gateway_config::{About, Algorithm, Config, Mode, PageSource, Pages as PagesConfig};
use gateway_contract::Page;
use gateway_metrics::Recorder;
use gateway_pages::{Pages, Profile, ServicePages};
use gateway_route::{RouteError, Routes};
use http::StatusCode;
use std::{path::PathBuf, sync::Arc};

/// Why a gateway does not start. What the broker lacks is not among them: it is tried again for ever.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Something that this version does not do.
    #[error("not available in this version: {0}")]
    Unsupported(&'static str),
    /// Two services under one route, or a route that is ours.
    #[error("services: {0}")]
    Routes(#[from] RouteError),
    /// Tokens cannot be checked as configured.
    #[error("auth: {0}")]
    Auth(#[from] PolicyError),
    /// `auth.key` is not base64.
    #[error("auth.key: not base64")]
    Key,
    /// A page's file cannot be read.
    #[error("{}: {error}", file.display())]
    PageFile {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The document URL policy cannot be made as configured.
    #[error("documents: {0}")]
    Documents(String),
    /// The client that fetches public keys cannot be made.
    #[error("auth.jwks_url: {0}")]
    Keys(String),
    /// The broker's client cannot be made.
    #[error("broker: {0}")]
    Broker(String),
    /// The workers' directory or client cannot be made.
    #[error("workers: {0}")]
    Workers(String),
    /// No thread or runtime could be started.
    #[error("the system gives no thread: {0}")]
    Runtime(std::io::Error),
    /// The gateway's thread ended before it had started.
    #[error("the gateway's thread ended while it started")]
    Thread,
}

/// Retired services keep their routes, for questions about their tasks, unless another has taken one.
pub(crate) fn routes(plan: &Plan) -> Result<Routes, RouteError> {
    let layers =
        |services: &[Arc<ServicePlan>]| -> Vec<_> { services.iter().map(|service| service.layer.clone()).collect() };
    let mut all = layers(plan.services());
    let routes = Routes::new(all.iter().cloned())?;
    if plan.retired().is_empty() {
        return Ok(routes);
    }
    for retired in layers(plan.retired()) {
        all.push(retired);
        if Routes::new(all.iter().cloned()).is_err() {
            all.pop();
        }
    }
    Routes::new(all)
}

pub(crate) fn recorder(plan: &Plan) -> Recorder {
    Recorder::new(plan.names())
}

/// Where the public keys come from that tokens are verified with, if any are.
pub(crate) fn keys(config: &Config) -> Result<Option<Published>, StartError> {
    let auth = &config.auth;
    let wanted = auth.mode == Mode::Jwt && auth.algorithms.iter().any(|algorithm| algorithm.least_key().is_none());
    auth.jwks_url.as_ref().filter(|_| wanted).map(|url| Published::new(url.as_str())).transpose()
}

pub(crate) fn policy(config: &Config, keys: Option<&Published>) -> Result<Policy, StartError> {
    let auth = &config.auth;
    if auth.mode == Mode::None {
        return Ok(Policy::open());
    }
    let mut policy = Policy::builder()
        .algorithms(auth.algorithms.iter().map(|algorithm| algorithm_of(*algorithm)))
        .audience(auth.audience.as_str())
        .issuer(auth.issuer.as_str())
        .leeway(auth.leeway)
        .shared_key(auth.shared_key.expose())
        .public(auth.public.iter().map(|verb| verb.as_str()));
    if !auth.key.is_empty() {
        policy = policy.secret(&auth.key_bytes().ok_or(StartError::Key)?);
    }
    if let Some(keys) = keys {
        policy = policy.published(Arc::new(keys.clone()));
    }
    Ok(policy.build()?)
}

/// The same algorithm in the words of the token library.
pub(crate) fn algorithm_of(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as Known;
    match algorithm {
        Algorithm::Hs256 => Known::HS256,
        Algorithm::Hs384 => Known::HS384,
        Algorithm::Hs512 => Known::HS512,
        Algorithm::Rs256 => Known::RS256,
        Algorithm::Rs384 => Known::RS384,
        Algorithm::Rs512 => Known::RS512,
        Algorithm::Es256 => Known::ES256,
        Algorithm::Es384 => Known::ES384,
        Algorithm::EdDsa => Known::EdDSA,
    }
}

pub(crate) fn pages(config: &Config, plan: &Plan) -> Result<Pages, StartError> {
    let mut services = Vec::with_capacity(plan.services().len());
    for service in plan.services() {
        services.push(ServicePages {
            service: service.layer.clone(),
            task: service.config.task.clone(),
            queue: service.config.queue.clone(),
            version: service.config.version.clone(),
            profile: profile(&service.config.about, &service.config.pages)?,
        });
    }
    let platform = profile(&config.platform.about, &config.platform.pages)?;
    Ok(Pages { version: env!("CARGO_PKG_VERSION").to_owned(), services, platform })
}

fn profile(about: &About, sources: &PagesConfig) -> Result<Profile, StartError> {
    let mut pages = std::collections::HashMap::new();
    for (page, (_, source)) in Page::ALL.into_iter().zip(sources.iter()) {
        if let Some(source) = source {
            pages.insert(page, page_of(source)?);
        }
    }
    let about = gateway_pages::About {
        name: about.name.clone(),
        synopsis: about.synopsis.clone(),
        institution: about.institution.clone(),
        release_time: about.release_time.clone(),
        support_email: about.support_email.clone(),
        category: about.category.clone(),
        research_subject: about.research_subject.clone(),
        tags: about.tags.clone(),
    };
    Ok(Profile { about, pages })
}

/// A URL as it is written, unless it could not stand in a header so.
fn visible(url: &str) -> String {
    let fit = url.bytes().all(|byte| byte.is_ascii_graphic());
    let whole = || url::Url::parse(url).map_or_else(|_| url.to_owned(), String::from);
    if fit { url.to_owned() } else { whole() }
}

fn page_of(source: &PageSource) -> Result<gateway_pages::PageSource, StartError> {
    Ok(match source {
        PageSource::Redirect(url) => gateway_pages::PageSource::Redirect(visible(url.as_str())),
        PageSource::File(file) => {
            let html = std::fs::read(file).map_err(|error| StartError::PageFile { file: file.clone(), error })?;
            gateway_pages::PageSource::Html(html.into())
        }
        PageSource::Text { text, status } => {
            // The configuration admits 200 to 599 only.
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::OK);
            gateway_pages::PageSource::Text { body: text.clone(), status }
        }
    })
}
