use crate::{PageError, PageSource};
use bytes::Bytes;
use http::StatusCode;
use std::io;

fn parse(text: &str) -> Result<Option<PageSource>, PageError> {
    PageSource::parse(text, |path| match path {
        "doc.html" => Ok(Bytes::from_static(b"<p>doc</p>")),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    })
}

#[test]
fn what_is_configured_is_read() {
    let redirect = |url: &str| Some(PageSource::Redirect(url.into()));
    let answer = |body: &str, status| {
        Some(PageSource::Text { body: body.into(), status: StatusCode::from_u16(status).unwrap() })
    };
    let cases = [
        ("", None),
        ("  ", None),
        ("https://github.com/crim-ca/Service#doc", redirect("https://github.com/crim-ca/Service#doc")),
        ("https://example.org", redirect("https://example.org")),
        ("HTTP://example.org/a,204", redirect("HTTP://example.org/a,204")),
        ("mailto:a@example.org", redirect("mailto:a@example.org")),
        ("https://example.org/é ü\r\nX: y", redirect("https://example.org/%C3%A9%20%C3%BCX:%20y")),
        ("https://exämple.org/", redirect("https://xn--exmple-cua.org/")),
        ("file:doc.html", Some(PageSource::Html("<p>doc</p>".into()))),
        (",204", answer("", 204)),
        ("Not available,404", answer("Not available", 404)),
        ("One, two, three , 200", answer("One, two, three", 200)),
        ("é,599", answer("é", 599)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    // The first three are from the recording's configuration: the original answered 500.
    let cases = [
        ("no valid value here", "is no page"),
        ("tryme.html", "is no page"),
        ("a,b,c", "is no page"),
        ("text,", "is no page"),
        ("text,+200", "is no page"),
        ("text,-1", "is no page"),
        ("javascript:alert(1)", "is no page"),
        ("https://", "not a valid URL"),
        ("https://exa mple.org/", "not a valid URL"),
        ("text,199", "from 200 to 599"),
        ("text,600", "from 200 to 599"),
        ("text,99999999999", "from 200 to 599"),
        ("gone,204", "has no text"),
        ("file:missing.html", "missing.html"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}
