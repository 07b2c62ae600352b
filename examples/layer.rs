//! One layer of the gateway, alone, in front of an application of one's own: `auth` with its tokens.
//!
//! ```text
//! cargo run --example layer
//! ```
//!
//! Every layer is a crate of its own and knows no other: it needs what its first page says, and whoever leaves that on
//! the request may put the layer anywhere. `auth` needs a `Target`, which the gateway's `route` would stamp; here the
//! application does it.

#![allow(clippy::print_stdout)] // an example speaks to the person at the terminal

use gateway_auth::{Algorithm, AuthLayer, Grant, Policy, sign};
use gateway_contract::{Identity, Place, Rejection, Service, Target, Verb};
use http::{Request, Response, header};
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = [7; 64]; // in earnest: 64 random bytes
    let policy = Policy::builder()
        .algorithms([Algorithm::HS512])
        .secret(&secret)
        .audience("reports")
        .public(["info"]) // asking what there is needs no token
        .build()?;

    // Reading is `info`, everything else is `process`: the two verbs that this application has.
    let reports =
        Arc::new(Service { index: 0, name: "reports".into(), route: "reports".into(), requires_document: false });
    let name = move |mut request: Request<()>| {
        let verb = if request.method() == http::Method::GET { Verb::Info } else { Verb::Process };
        request.extensions_mut().insert(Target { place: Place::Service(reports.clone()), verb, document: None });
        request
    };
    let application = service_fn(async |request: Request<()>| {
        let who = request.extensions().get::<Identity>().and_then(|identity| identity.subject.clone());
        Ok::<_, Rejection>(Response::new(format!("hello, {}", who.as_deref().unwrap_or("whoever you are"))))
    });
    let stack = ServiceBuilder::new().map_request(name).layer(AuthLayer::new(policy)).service(application);

    let grant = Grant::new("reports", SystemTime::now() + Duration::from_secs(600)).with_subject("ann");
    let token = sign(&grant, &secret, Algorithm::HS512)?;
    for request in [
        Request::get("/").body(())?,
        Request::post("/").body(())?,
        Request::post("/").header(header::AUTHORIZATION, token).body(())?,
    ] {
        let asked = format!("{} {:?}", request.method(), request.headers().contains_key(header::AUTHORIZATION));
        match stack.clone().oneshot(request).await {
            Ok(answer) => println!("{asked:<11} {}", answer.body()),
            // A refusal is data: status, code, whose fault it is, and what to do. `respond` makes answers of them.
            Err(refusal) => println!("{asked:<11} {refusal}"),
        }
    }
    Ok(())
}
