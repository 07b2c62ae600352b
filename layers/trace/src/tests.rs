use crate::TraceLayer;
use gateway_contract::{BoxError, Place, SPANS, Sampler, Service, Target, TraceContext, Verb, trace_context};
use http::{Request, Response};
use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::layer::{Context, SubscriberExt};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Keeps all fields of spans of ours, `name=value`.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Visit for Kept {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Kept {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        assert_eq!(attributes.metadata().target(), SPANS);
        attributes.record(&mut self.clone());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }
}

impl Kept {
    fn has(&self, field: &str) -> bool {
        self.0.lock().unwrap().iter().any(|kept| kept == field)
    }
}

/// Asks under a subscriber: the place that the application saw, and what was told.
async fn ask(sampler: Sampler, verb: Verb, path: &str, caller: Option<&str>) -> (Option<TraceContext>, Kept) {
    let kept = Kept::default();
    let _told = tracing::subscriber::set_default(tracing_subscriber::registry().with(kept.clone()));
    let application = service_fn(|request: Request<()>| async move {
        Ok::<_, BoxError>(Response::builder().status(503).body(trace_context(&request).cloned()).unwrap())
    });
    let stub = Service { index: 0, name: "stub".into(), route: "st".into(), requires_document: true };
    let place = Place::Service(Arc::new(stub));
    let mut request = Request::post(path).header("user-agent", "a\u{9}b").body(()).unwrap();
    request.extensions_mut().insert(Target { place, verb, document: Some("secret.wav".into()) });
    if let Some(caller) = caller {
        request.headers_mut().insert("traceparent", caller.parse().unwrap());
    }
    let answer = TraceLayer::new(sampler).layer(application).oneshot(request).await.unwrap();
    (answer.into_body(), kept)
}

#[tokio::test]
async fn a_recorded_request_is_told_as_the_conventions_have_it() {
    let (place, kept) = ask(Sampler::bystander(), Verb::Annotate, "/st/annotate/x?service_key=k", Some(CALLER)).await;
    let (place, caller) = (place.unwrap(), TraceContext::read(CALLER, None).unwrap());
    assert_eq!(place.trace_id(), caller.trace_id());
    assert_ne!(place.span_id(), caller.span_id());
    for field in [
        "otel.name=\"POST /st/annotate/{document}\"".to_owned(),
        "otel.kind=\"server\"".to_owned(),
        format!("span.id={}", place.span_id()),
        format!("parent.id={}", caller.span_id()),
        "root=false".to_owned(),
        "http.request.method=\"POST\"".to_owned(),
        "url.path=\"/st/annotate/x\"".to_owned(),
        "http.response.status_code=503".to_owned(),
        "error.type=\"503\"".to_owned(),
        "otel.status_code=\"ERROR\"".to_owned(),
        "user_agent.original=\"ab\"".to_owned(),
        "gateway.service=\"stub\"".to_owned(),
    ] {
        assert!(kept.has(&field), "{field} is missing: {:?}", kept.0);
    }
    assert!(!format!("{:?}", kept.0).contains("service_key"));
}

#[tokio::test]
async fn what_is_not_recorded_has_no_span_and_goes_on_with_a_submission_alone() {
    let unsampled = CALLER.replace("-01", "-00");
    let (place, kept) = ask(Sampler::bystander(), Verb::Annotate, "/st/annotate", Some(&unsampled)).await;
    assert_eq!(place.map(|place| place.traceparent()).as_deref(), Some(unsampled.as_str()));
    assert!(kept.0.lock().unwrap().is_empty());
    let (place, _) = ask(Sampler::bystander(), Verb::Status, "/st/status", Some(&unsampled)).await;
    assert_eq!(place, None);
    let (place, _) = ask(Sampler::share(0.0), Verb::Process, "/st/process", None).await;
    assert!(place.is_some_and(|place| !place.is_sampled()), "workers follow our decision");
    for sampler in [Sampler::bystander(), Sampler::share(1.0)] {
        let (place, kept) = ask(sampler, Verb::Livez, "/livez", None).await;
        assert!(place.is_none() && kept.0.lock().unwrap().is_empty(), "probes are not traced");
    }
}

#[tokio::test]
async fn a_trace_of_ours_begins_with_the_request() {
    let (place, kept) = ask(Sampler::share(1.0).parent_based(), Verb::Status, "/st/status", None).await;
    assert!(kept.has("root=true") && kept.has(&format!("trace.id={}", place.unwrap().trace_id())));
    let (place, _) = ask(Sampler::share(1.0), Verb::Status, "/st/status", Some("nonsense")).await;
    assert!(place.is_some_and(|place| place.is_sampled()), "a malformed header is as none");
}
