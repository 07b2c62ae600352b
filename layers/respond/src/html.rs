//! Data as pages of ours: templates that are checked when they are compiled, and escape all that they are given.

use crate::{asked::Asked, needs};
use askama::Template;
use gateway_contract::{Base, BoxError, Place, View};
use http::{HeaderMap, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The style of every page: in the page itself, so that it needs no second request and no path of its own.
pub(crate) const STYLE: &str = include_str!("../templates/style.css");

/// What browsers may do with our pages: apply that very style and nothing else. The hash is that of [`STYLE`].
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'sha256-6hPi6Bj0mutY5y2iNXIBtlUJEbgP6ZXWckz7vMRIJOs='; base-uri 'none'; \
                                 form-action 'none'; frame-ancestors 'none'";

/// What of a mail address may stand in a link as it is.
const MAIL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_');

/// The page that shows `json` as `view`.
///
/// # Errors
///
/// If `json` is not what `view` promises.
pub(crate) fn page(
    json: &[u8],
    view: View,
    status: StatusCode,
    headers: &HeaderMap,
    asked: &Asked,
) -> Result<String, BoxError> {
    let links = links(asked.place.as_ref(), asked.base.as_ref());
    let page = match view {
        View::Error => refusal(serde_json::from_slice(json)?, status, headers, links).render(),
        View::Stats => {
            let whose = asked.service().map_or("this platform", |service| &service.name);
            facts(&serde_json::from_slice(json)?, Some(format!("Statistics of {whose}")), links).render()
        }
        View::Needs => {
            let whose = asked.service().map_or("all services", |service| &service.name);
            let needs = needs::flat(serde_json::from_slice(json)?);
            facts(&needs, Some(format!("Workers needed by {whose}")), links).render()
        }
        _ => facts(&serde_json::from_slice(json)?, None, links).render(),
    };
    page.map_err(Into::into)
}

/// A link of ours, mount prefix included.
struct Link {
    to: String,
    text: &'static str,
}

/// Where to go from here: to what the party says of itself.
fn links(place: Option<&Place>, base: Option<&Base>) -> Vec<Link> {
    let of = |place: &Place, info, stats| {
        let root = place.path(base);
        [Link { to: format!("{root}info"), text: info }, Link { to: format!("{root}stats"), text: stats }]
    };
    let platform = of(&Place::Platform, "About this platform", "Platform statistics");
    match place {
        // The one routed `.` has no path of its own for these.
        Some(place @ Place::Service(service)) if &*service.route != "." => {
            of(place, "About this service", "Statistics").into_iter().chain(platform).collect()
        }
        _ => platform.into(),
    }
}

#[derive(Template)]
#[template(path = "facts.html")]
struct Facts {
    title: String,
    rows: Vec<Row>,
    links: Vec<Link>,
}

struct Row {
    label: String,
    text: String,
    /// Where `text` leads to.
    to: Option<String>,
}

/// What CANARIE wants to know, under words for people. The title is the name that is among it, unless another is given.
fn facts(facts: &Map<String, Value>, title: Option<String>, links: Vec<Link>) -> Facts {
    let name = || facts.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(Into::into);
    let title = title.or_else(name).unwrap_or_else(|| "Information".into());
    let rows = facts.iter().filter(|(key, _)| *key != "name").map(|(key, value)| {
        let text = text(value);
        let to = (key == "supportEmail" && text.contains('@'))
            .then(|| format!("mailto:{}", utf8_percent_encode(&text, MAIL)));
        Row { label: label(key).into(), text, to }
    });
    Facts { title, rows: rows.filter(|row| !row.text.is_empty()).collect(), links }
}

/// A key of CANARIE's for people.
fn label(key: &str) -> &str {
    match key {
        "synopsis" => "Synopsis",
        "institution" => "Institution",
        "releaseTime" => "Released",
        "supportEmail" => "Support",
        "category" => "Category",
        "researchSubject" => "Research subject",
        "tags" => "Tags",
        "version" => "Version",
        "activeWorkers" => "Active workers",
        "invocations" => "Accepted submissions",
        "lastReset" => "Counted since",
        other => needs::label(other),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "unknown".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The error envelope.
#[derive(Deserialize)]
struct Envelope {
    status: u16,
    description: String,
    vesta: Vesta,
    request_id: Option<String>,
    #[serde(default)]
    cause: Vec<String>,
}

#[derive(Deserialize)]
struct Vesta {
    code: u16,
    message: String,
}

#[derive(Template)]
#[template(path = "error.html")]
struct Refused {
    title: String,
    /// `None`: the title says it all.
    message: Option<String>,
    code: u16,
    request_id: Option<String>,
    causes: Vec<String>,
    /// In seconds.
    retry_after: Option<String>,
    links: Vec<Link>,
}

/// Shows the same facts as the envelope.
fn refusal(envelope: Envelope, status: StatusCode, headers: &HeaderMap, links: Vec<Link>) -> Refused {
    let reason = status.canonical_reason().unwrap_or_default();
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|seconds| seconds.to_str().ok());
    let Envelope { status, description, vesta, request_id, cause } = envelope;
    let message = [vesta.message, description].into_iter().find(|text| !text.is_empty() && text != reason);
    let title = format!("{status} {reason}").trim_end().to_owned();
    Refused {
        title,
        message,
        code: vesta.code,
        request_id,
        causes: cause,
        retry_after: retry_after.map(Into::into),
        links,
    }
}
