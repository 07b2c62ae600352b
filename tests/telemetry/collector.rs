//! An OTLP collector on the loopback: HTTP and gRPC on one port. It keeps what it gets.

use crate::support::{PATIENCE, until};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::Metric,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

/// What came, and by whom.
#[derive(Default)]
struct Kept {
    spans: Vec<Told>,
    metrics: Vec<Metric>,
    /// Paths, with the header `authorization`.
    requests: Vec<(String, Option<String>)>,
}

/// A span, and the `service.name` of who told it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) service: String,
    pub(crate) span: Span,
}

/// A collector; ends with the test.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let (sender, receiver) = std::sync::mpsc::channel();
        let all = kept.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let all = all.clone();
                    let service = hyper::service::service_fn(move |request| answer(all.clone(), request));
                    tokio::spawn(async move {
                        let _ =
                            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            });
        });
        Self { address: receiver.recv().unwrap(), kept }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans of a trace.
    pub(crate) fn trace(&self, id: &str) -> Vec<Told> {
        let spans = &self.kept.lock().unwrap().spans;
        spans.iter().filter(|told| hex(&told.span.trace_id) == id).cloned().collect()
    }

    /// Waits until a trace has spans of all these names; gives all of its spans.
    #[track_caller]
    pub(crate) fn whole(&self, id: &str, names: &[&str]) -> Vec<Told> {
        let mut seen = Vec::new();
        let whole = || {
            seen = self.trace(id);
            names.iter().all(|name| seen.iter().any(|told| told.span.name == *name)).then(|| seen.clone())
        };
        until(PATIENCE, &format!("a trace with {names:?}"), whole)
    }

    pub(crate) fn spans(&self) -> usize {
        self.kept.lock().unwrap().spans.len()
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        self.kept.lock().unwrap().metrics.clone()
    }

    pub(crate) fn requests(&self) -> Vec<(String, Option<String>)> {
        self.kept.lock().unwrap().requests.clone()
    }
}

type Answer = Response<StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>>;

async fn answer(kept: Arc<Mutex<Kept>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").and_then(|it| it.to_str().ok()).map(str::to_owned);
    let grpc =
        request.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut body = BytesMut::from(&request.into_body().collect().await.unwrap().to_bytes()[..]);
    if grpc {
        // One byte says whether it is compressed, four how long it is.
        assert_eq!(body[0], 0, "nothing is compressed");
        let _ = body.split_to(5);
    }
    let mut kept = kept.lock().unwrap();
    match path.as_str() {
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            for spans in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
                let service = text(&spans.resource.unwrap().attributes, "service.name");
                let all = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
                kept.spans.extend(all.map(|span| Told { service: service.clone(), span }));
            }
        }
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
            let all = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            kept.metrics = all.flat_map(|scope| scope.metrics).collect();
        }
        other => panic!("nobody asks {other}"),
    }
    kept.requests.push((path, authorization));
    let mut frames = Vec::new();
    let mut response = Response::builder();
    if grpc {
        frames.push(Ok(Frame::data(Bytes::from_static(&[0; 5]))));
        frames
            .push(Ok(Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))));
        response = response.header("content-type", "application/grpc");
    }
    Ok(response.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of an attribute, numbers included; empty if there is none.
pub(crate) fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|it| it.key == name).and_then(|it| it.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        _ => String::new(),
    }
}

impl Told {
    pub(crate) fn attribute(&self, name: &str) -> String {
        text(&self.span.attributes, name)
    }

    pub(crate) fn kind(&self) -> SpanKind {
        SpanKind::try_from(self.span.kind).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }
}

/// The one span of that name.
#[track_caller]
pub(crate) fn one<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let found: Vec<_> = spans.iter().filter(|told| told.span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

/// Holds that every parent is in the trace or the client's own span, and that children begin after their parents (within
/// what clocks of one machine differ by); gives the names of parents by those of children.
#[track_caller]
pub(crate) fn parents(spans: &[Told], client: &str) -> BTreeMap<String, String> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|told| (told.id(), told)).collect();
    assert_eq!(by_id.len(), spans.len(), "span ids differ");
    let parent = |told: &Told| {
        let id = hex(&told.span.parent_span_id);
        if id == client {
            return "client".to_owned();
        }
        let parent = by_id.get(&id).unwrap_or_else(|| panic!("{} has no parent: {spans:#?}", told.span.name));
        let early = parent.span.start_time_unix_nano.saturating_sub(told.span.start_time_unix_nano);
        assert!(early < 5_000_000, "{} begins before its parent", told.span.name);
        parent.span.name.clone()
    };
    spans.iter().map(|told| (told.span.name.clone(), parent(told))).collect()
}
