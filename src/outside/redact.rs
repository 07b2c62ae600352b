//! URLs without what must not be seen.

use url::Url;

/// At most so many characters of a URL are shown.
const SHOWN: usize = 200;

/// A URL as messages and logs may show it: the user's name and password are `***`, query and fragment are left out
/// (they carry signatures and tokens), control characters too, and the whole is cut after 200 characters.
///
/// Takes any text. In what does not read as a URL, everything before the last `@` is taken for a password.
///
/// ```
/// use gateway_outside::redact;
/// assert_eq!(redact("https://ann:pa55@example.org/a.wav?signature=1"), "https://***@example.org/a.wav?…");
/// assert_eq!(redact("ann:pa55@example.org"), "***@example.org");
/// ```
pub fn redact(text: &str) -> String {
    let shown = match Url::parse(text) {
        Ok(url) if url.has_host() => redact_url(&url),
        _ => redact_text(text),
    };
    let mut clean: String = shown.chars().filter(|c| !c.is_control()).take(SHOWN + 1).collect();
    if clean.chars().count() > SHOWN {
        clean.pop();
        clean.push('…');
    }
    clean
}

fn redact_url(url: &Url) -> String {
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = if url.query().is_some() || url.fragment().is_some() { "?…" } else { "" };
    format!("{}://{user}{host}{port}{}{rest}", url.scheme(), url.path())
}

fn redact_text(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('@') => (format!("{scheme}://"), rest),
        _ => (String::new(), text),
    };
    // The password first: it may hold a `?` or `#`.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    match rest.find(['?', '#']) {
        Some(cut) => format!("{scheme}{user}{}?…", &rest[..cut]),
        None => format!("{scheme}{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_what_helps() {
        assert_eq!(redact("http://host"), "http://host/");
        assert_eq!(redact("notaurl"), "notaurl");
        assert_eq!(redact("http://[::1]:80x/"), "http://[::1]:80x/");
        assert_eq!(redact("http://u:p?w@h/"), "http://***@h/");
        assert_eq!(redact("a\u{1b}[31mb"), "a[31mb");
        assert_eq!(redact(&format!("http://h/{}", "a".repeat(500))).chars().count(), SHOWN + 1);
    }

    proptest! {
        #[test]
        fn never_shows_a_password(scheme in "[a-z]{0,5}(:|://|:/|//|)", before in "[a-z:?#%]{0,3}", rest in ".{0,20}") {
            let shown = redact(&format!("{scheme}u:{before}SECRET@{rest}"));
            prop_assert!(!shown.contains("SECRET"), "{}", shown);
        }
    }
}
