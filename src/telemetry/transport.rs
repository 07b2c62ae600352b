//! One request to a collector.

use crate::settings::{Destination, Protocol};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tonic::{
    Code, Status,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: String,
    /// Would the same be taken another time?
    pub(crate) later: bool,
}

/// A way to a collector. Made on the exporter's own runtime.
pub(crate) enum Way {
    Http { client: reqwest::Client, url: String, headers: HeaderMap },
    Grpc { channel: Channel, metadata: MetadataMap, timeout: Duration },
}

/// What is sent.
pub(crate) enum Cargo {
    Spans(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

impl Way {
    /// Nothing is dialled yet.
    pub(crate) fn to(destination: &Destination) -> Result<Self, String> {
        match destination.protocol {
            Protocol::Http => {
                let client = gateway_outside::plain_client(destination.timeout).map_err(|error| error.to_string())?;
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                for (name, value) in &destination.headers {
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit(name))?;
                    let mut value = HeaderValue::from_str(value).map_err(|_| unfit(name.as_str()))?;
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                Ok(Self::Http { client, url: destination.url.clone(), headers })
            }
            Protocol::Grpc => {
                let endpoint = Endpoint::from_shared(destination.url.clone()).map_err(|error| error.to_string())?;
                let endpoint = match destination.url.starts_with("https:") {
                    true => endpoint
                        .tls_config(ClientTlsConfig::new().with_native_roots())
                        .map_err(|error| error.to_string())?,
                    false => endpoint,
                };
                let mut metadata = MetadataMap::new();
                for (name, value) in &destination.headers {
                    let name = MetadataKey::from_bytes(name.to_lowercase().as_bytes()).map_err(|_| unfit(name))?;
                    let value = MetadataValue::try_from(value.as_str()).map_err(|_| unfit(name.as_str()))?;
                    metadata.insert(name, value);
                }
                let timeout = destination.timeout;
                Ok(Self::Grpc { channel: endpoint.connect_timeout(timeout).connect_lazy(), metadata, timeout })
            }
        }
    }

    /// Sends it once, within the destination's timeout.
    pub(crate) async fn send(&self, cargo: &Cargo) -> Result<(), Refused> {
        match self {
            Self::Http { client, url, headers } => {
                let body = match cargo {
                    Cargo::Spans(spans) => spans.encode_to_vec(),
                    Cargo::Metrics(metrics) => metrics.encode_to_vec(),
                };
                let answer = client.post(url).headers(headers.clone()).body(body).send().await;
                // Without the URL: it may hold credentials.
                let answer = answer.map_err(|error| Refused { why: innermost(error.without_url()), later: true })?;
                match answer.status().as_u16() {
                    200..300 => Ok(()),
                    status => {
                        let later = matches!(status, 429 | 502 | 503 | 504);
                        Err(Refused { why: format!("the collector answered {status}"), later })
                    }
                }
            }
            Self::Grpc { channel, metadata, timeout } => {
                let call = async {
                    match cargo {
                        Cargo::Spans(spans) => {
                            let request = with(metadata, spans.clone());
                            TraceServiceClient::new(channel.clone()).export(request).await.map(drop)
                        }
                        Cargo::Metrics(metrics) => {
                            let request = with(metadata, metrics.clone());
                            MetricsServiceClient::new(channel.clone()).export(request).await.map(drop)
                        }
                    }
                };
                match tokio::time::timeout(*timeout, call).await {
                    Ok(result) => result.map_err(refused),
                    Err(_) => Err(Refused { why: "the collector did not answer in time".to_owned(), later: true }),
                }
            }
        }
    }
}

fn unfit(name: &str) -> String {
    format!("the header {name:?} cannot be sent")
}

fn with<T>(metadata: &MetadataMap, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata.clone();
    request
}

fn refused(status: Status) -> Refused {
    let later = matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled | Code::ResourceExhausted
    );
    Refused { why: format!("{}: {}", status.code(), status.message()), later }
}

fn innermost(error: reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
