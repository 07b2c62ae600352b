//! Chains that are read, and chains that are refused.

#![allow(clippy::unwrap_used)] // tests

use gateway_contract::{Arguments, Base, Place, Rejection, Service, Target, Upload, Verb, Work};
use gateway_workflow::{MAX_STEPS, WorkflowLayer};
use http::{Request, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

fn uploads() -> Vec<Upload> {
    let upload = |field: &str, digest: &str| Upload {
        field: field.into(),
        url: format!("http://h/temporary_file/of-{digest}"),
        digest: digest.into(),
    };
    vec![upload("file1", "aa"), upload("../../etc/passwd", "bb")]
}

async fn ask(verb: Verb, arguments: Option<Arguments>, token: Option<&str>) -> Result<Option<Work>, Rejection> {
    let known: Arc<[Box<str>]> = ["words".into(), "loud".into()].into();
    let inner = service_fn(async |mut request: Request<()>| {
        Ok::<_, Rejection>(Response::new(request.extensions_mut().remove::<Work>()))
    });
    let service = Service { index: 0, name: Service::WORKFLOW.into(), route: "chains".into(), requires_document: true };
    let target = Target { place: Place::Service(Arc::new(service)), verb, document: None };
    let mut request = Request::post("/").extension(Base("https://h/g".into())).extension(target);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let mut request = request.body(()).unwrap();
    if let Some(arguments) = arguments {
        request.extensions_mut().insert(arguments);
    }
    Ok(WorkflowLayer::new(Some(known)).layer(inner).oneshot(request).await?.into_body())
}

fn form(json: &str) -> Arguments {
    let fields = [("json".to_owned(), json.into()), ("more".to_owned(), "x".into())].into_iter().collect();
    Arguments { fields, uploads: uploads(), ..Arguments::default() }
}

async fn work(json: &Value, token: Option<&str>) -> Work {
    ask(Verb::Workflow, Some(form(&json.to_string())), token).await.unwrap().unwrap()
}

#[tokio::test]
async fn files_get_their_urls_in_values_alone() {
    let chain = json!({
        "file1": "file1", "sg_url": "http://evil.example/", "sg_token": "theirs",
        "services": [{"service_name": "words", "url": "file1", "list": ["../../etc/passwd", {"file1": "file1"}], "n": 1}],
    });
    let work = work(&chain, Some("Bearer abc")).await;
    let one = "http://h/temporary_file/of-aa";
    let step =
        json!({"service_name": "words", "url": one, "list": ["http://h/temporary_file/of-bb", {"file1": one}], "n": 1});
    let misc = json!({
        "file1": one, "services": [step], "stateful": false, "sg_url": "https://h/g/", "sg_token": "Bearer abc",
    });
    assert_eq!(Value::Object(work.misc), misc);
    assert_eq!((work.document_url, work.annotations_url), (None, None));
}

#[tokio::test]
async fn without_a_token_there_is_none() {
    let work = work(&json!({"services": [], "sg_token": "theirs"}), None).await;
    assert!(!work.misc.contains_key("sg_token"));
}

#[tokio::test]
async fn the_essence_knows_contents_and_not_where_they_lie() {
    let chain = json!({"services": [{"service_name": "words", "url": "file1"}]});
    let essence = work(&chain, Some("one")).await.essence;
    assert_eq!(essence, work(&chain, Some("another")).await.essence);
    assert_eq!(essence.unwrap()["files"], json!({"file1": "aa", "../../etc/passwd": "bb"}));
}

#[tokio::test]
async fn place_holders_stay_and_must_refer_to_something() {
    let chain = json!({"services": [
        {"service_name": "words", "url": "file1", "target": "s__a.txt__e"},
        {"service_name": "loud", "url": "s__a.txt__e"},
    ]});
    assert_eq!(work(&chain, None).await.misc["services"][1]["url"], "s__a.txt__e");
    for (steps, why) in [
        (json!([{"service_name": "words", "url": "s__a__e"}]), "step 1: its document \"s__a__e\""),
        (json!([{"service_name": "words"}, {"service_name": "loud", "doc_url": "s__b__e"}]), "step 2: its document"),
        (json!([{"service_name": "words", "x": ["s____e"]}]), "is not a place-holder"),
        (json!([{"service_name": "words", "x": "s__../../etc/passwd__e"}]), "is not a place-holder"),
    ] {
        refused(&json!({ "services": steps }).to_string(), 105, why).await;
    }
}

async fn refused(json: &str, code: u16, why: &str) {
    let refusal = ask(Verb::Workflow, Some(form(json)), None).await.unwrap_err().into_refusal();
    assert_eq!((refusal.status.as_u16(), refusal.code), (400, code), "{json}: {}", refusal.detail);
    assert!(refusal.detail.contains(why) && refusal.detail.len() < 1000, "{json}: {}", refusal.detail);
}

#[tokio::test]
async fn every_bad_chain_is_told_what_is_wrong() {
    for (json, code, why) in [
        ("null", 206, "no field \"json\""),
        ("{bad", 105, "not valid JSON"),
        ("", 105, "not valid JSON"),
        ("[1]", 105, "but a list"),
        ("\"x\"", 105, "but text"),
        ("{}", 206, "\"services\" is missing"),
        (r#"{"services": null}"#, 206, "\"services\" is missing"),
        (r#"{"services": {}}"#, 105, "\"services\" is an object"),
        (r#"{"services": [1]}"#, 105, "step 1 is a number"),
        (r#"{"services": [{}]}"#, 206, "step 1 has no"),
        (
            r#"{"services": [{"service_name": "words"}, {"service_name": 7}]}"#,
            105,
            "step 2: \"service_name\" is a number",
        ),
        (r#"{"services": [{"service_name": "chains"}]}"#, 105, "itself"),
        (r#"{"services": [{"service_name": "nope"}]}"#, 202, "\"nope\""),
    ] {
        refused(json, code, why).await;
    }
    let long = json!({"services": vec![json!({"service_name": "words"}); MAX_STEPS + 1]}).to_string();
    refused(&long, 105, "more than 100 steps").await;
    refused(&format!(r#"{{"services": [{{"service_name": "{}"}}]}}"#, "x".repeat(50_000)), 202, "step 1").await;
    refused(&"[".repeat(100_000), 105, "not valid JSON").await;
    let nothing = ask(Verb::Workflow, Some(Arguments::default()), None).await.unwrap_err().into_refusal();
    assert_eq!((nothing.status.as_u16(), nothing.code), (400, 206));
}

#[tokio::test]
async fn everything_else_passes() {
    assert_eq!(ask(Verb::Process, Some(form("{bad")), None).await.unwrap(), None);
    assert_eq!(ask(Verb::Status, None, None).await.unwrap(), None);
    let refusal = ask(Verb::Workflow, None, None).await.unwrap_err().into_refusal();
    assert_eq!(refusal.status.as_u16(), 500, "the stack is wrong");
}
