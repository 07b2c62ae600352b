//! `[platform.pages]` and `[services.X.pages]`

use crate::{fields::text_field, reader::Text, schema::table, urls::HttpUrl};
use std::path::PathBuf;

/// What a CANARIE page answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageSource {
    /// A redirect to this URL.
    Redirect(HttpUrl),
    /// The HTML page in this file; a relative path starts at the current directory.
    File(PathBuf),
    /// This text with this status (200 to 599).
    Text {
        /// The body; may be empty.
        text: String,
        /// The HTTP status.
        status: u16,
    },
}

impl Text for PageSource {
    const EXPECTS: &'static str = "a URL, \"file:PATH\", or a text with its status such as \"closed,503\"";

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            return PathBuf::parse(path).map(Self::File).map_err(|_| format!("expected {}", Self::EXPECTS));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return HttpUrl::parse(text).map(Self::Redirect);
        }
        let (words, status) = text.rsplit_once(',').ok_or_else(|| format!("expected {}", Self::EXPECTS))?;
        match status.trim().parse() {
            // RFC 9110, 6.4.1 and 15.3.6: these have no content.
            Ok(status @ (204 | 205 | 304)) if !words.is_empty() => {
                Err(format!("an answer with status {status} has no text: expected \",{status}\""))
            }
            Ok(status @ 200..=599) => Ok(Self::Text { text: words.to_owned(), status }),
            _ => Err(format!("expected {}; the status goes from 200 to 599", Self::EXPECTS)),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Redirect(url) => url.redacted(),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Text { text, status } => format!("{text},{status}"),
        }
    }
}

text_field!(PageSource);

table! {
    /// The nine CANARIE pages of a service or the platform; `None` = 404.
    #[allow(missing_docs)] // the names of the CANARIE registry
    pub struct Pages {
        pub home: Option<PageSource> = None,
        pub doc: Option<PageSource> = None,
        pub releasenotes: Option<PageSource> = None,
        pub support: Option<PageSource> = None,
        pub source: Option<PageSource> = None,
        pub tryme: Option<PageSource> = None,
        pub licence: Option<PageSource> = None,
        pub provenance: Option<PageSource> = None,
        pub factsheet: Option<PageSource> = None,
    }
}

impl Pages {
    /// The pages with their names, which are both key and path segment.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&PageSource>)> {
        [
            ("home", &self.home),
            ("doc", &self.doc),
            ("releasenotes", &self.releasenotes),
            ("support", &self.support),
            ("source", &self.source),
            ("tryme", &self.tryme),
            ("licence", &self.licence),
            ("provenance", &self.provenance),
            ("factsheet", &self.factsheet),
        ]
        .into_iter()
        .map(|(name, page)| (name, page.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let text = |text: &str, status| PageSource::Text { text: text.to_owned(), status };
        assert_eq!(PageSource::parse(",204"), Ok(text("", 204)));
        assert_eq!(PageSource::parse("closed, for now,503"), Ok(text("closed, for now", 503)));
        assert_eq!(PageSource::parse("file:doc.html"), Ok(PageSource::File("doc.html".into())));
        assert!(matches!(PageSource::parse("https://example.org/a,204"), Ok(PageSource::Redirect(_))));
        for wrong in
            ["", "text", "text,", "text,99", "text,600", "text,no", "gone,204", "file:", "https://", "ftp://x/y"]
        {
            assert!(PageSource::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_page_is_left_out() {
        use crate::schema::{Field, Shape};
        let Shape::Table(keys) = Pages::SHAPE else { panic!("a table") };
        let names: Vec<_> = keys.iter().map(|key| key.name).collect();
        let pages = Pages::default();
        assert_eq!(pages.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    }
}
