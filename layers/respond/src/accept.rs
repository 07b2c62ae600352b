//! What a client would rather have: the `Accept` header (RFC 9110, 12.5.1), read without an allocation.

use http::{HeaderMap, header};

/// How much a client wants a format. Formats of the same quality are told apart by how closely they are named, so that
/// `application/json, */*` (which many libraries send) asks for JSON, although both halves weigh the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Rank {
    /// In thousandths; 0: not at all.
    quality: u16,
    /// 0 where the header does not speak of the format, see [`Range`].
    closeness: u8,
}

/// What a client says of each format that we can show. Equal ranks say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accept {
    pub(crate) json: Rank,
    pub(crate) html: Rank,
    pub(crate) xml: Rank,
}

/// Longest quality that is read, in digits behind the point: RFC 9110 allows three, some clients send more.
const DIGITS: usize = 3;

impl Accept {
    /// Reads all `Accept` headers. A range that is malformed counts as not there. (`text/xml` and
    /// `application/xhtml+xml` are none of our formats.)
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self::default();
        for value in headers.get_all(header::ACCEPT) {
            // By far the most frequent values need no reading. The first says nothing.
            match value.as_bytes() {
                b"*/*" => accept.hear(Range { kind: Kind::Any, closeness: 1, quality: 1000 }),
                b"application/json" => accept.hear(Range { kind: Kind::Json, closeness: 4, quality: 1000 }),
                other => split(other, b',').filter_map(Range::read).for_each(|range| accept.hear(range)),
            }
        }
        accept.json = accept.json.wanted();
        accept.html = accept.html.wanted();
        accept.xml = accept.xml.wanted();
        accept
    }

    fn hear(&mut self, range: Range) {
        let (json, html, xml) = match range.kind {
            Kind::Any => (true, true, true),
            Kind::Application => (true, false, true),
            Kind::Text | Kind::Html => (false, true, false),
            Kind::Json => (true, false, false),
            Kind::Xml => (false, false, true),
        };
        for (rank, is_meant) in [(&mut self.json, json), (&mut self.html, html), (&mut self.xml, xml)] {
            if is_meant {
                rank.hear(range.closeness, range.quality);
            }
        }
    }
}

impl Rank {
    /// The closest range counts, whatever its quality; of two that are as close, the better.
    fn hear(&mut self, closeness: u8, quality: u16) {
        if closeness > self.closeness {
            *self = Self { closeness, quality };
        } else if closeness == self.closeness {
            self.quality = self.quality.max(quality);
        }
    }

    /// What is refused is as if it were not named.
    fn wanted(self) -> Self {
        if self.quality == 0 { Self::default() } else { self }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Any,
    Application,
    Text,
    Json,
    Html,
    Xml,
}

/// One part of the header.
#[derive(Debug, Clone, Copy)]
struct Range {
    kind: Kind,
    /// 1: `*/*`, 2: `text/*`, 3: a type with a parameter that ours has not, 4: a type.
    closeness: u8,
    /// In thousandths.
    quality: u16,
}

impl Range {
    /// `None`: it is malformed, or of no format of ours.
    fn read(part: &[u8]) -> Option<Self> {
        let mut pieces = split(part, b';').map(<[u8]>::trim_ascii);
        let kind = kind(pieces.next()?)?;
        let mut closeness = match kind {
            Kind::Any => 1,
            Kind::Application | Kind::Text => 2,
            Kind::Json | Kind::Html | Kind::Xml => 4,
        };
        let mut quality = 1000;
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let equals = piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len());
            let (name, value) = piece.split_at(equals);
            if name.eq_ignore_ascii_case(b"q") {
                quality = read_quality(value.get(1..)?)?;
                // What follows belongs to `Accept` and not to the type; nothing of that kind was ever defined.
                break;
            }
            if !name.eq_ignore_ascii_case(b"charset") {
                closeness = closeness.min(3);
            }
        }
        Some(Self { kind, closeness, quality })
    }
}

fn kind(range: &[u8]) -> Option<Kind> {
    // `*` alone is what old Java clients send.
    let kinds: [(&[u8], Kind); 7] = [
        (b"*/*", Kind::Any),
        (b"*", Kind::Any),
        (b"application/*", Kind::Application),
        (b"text/*", Kind::Text),
        (b"application/json", Kind::Json),
        (b"text/html", Kind::Html),
        (b"application/xml", Kind::Xml),
    ];
    kinds.into_iter().find(|(name, _)| range.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
}

/// A quality in thousandths: `0` to `1`, with or without digits behind the point.
fn read_quality(text: &[u8]) -> Option<u16> {
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at(point);
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let mut quality = match whole {
        b"" | b"0" => 0,
        b"1" => 1,
        _ => return None,
    };
    for at in 0..DIGITS {
        quality = quality * 10 + u16::from(fraction.get(at).map_or(0, |digit| digit - b'0'));
    }
    (quality <= 1000).then_some(quality)
}

/// Splits at `separator`, but not within a quoted string.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let was_escaped = std::mem::take(&mut escaped);
        match *byte {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            byte => return byte == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> Accept {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Accept::of(&headers)
    }

    /// (quality, closeness) of JSON, HTML, XML.
    fn ranks(lines: &[&str]) -> [(u16, u8); 3] {
        let accept = read(lines);
        [accept.json, accept.html, accept.xml].map(|rank| (rank.quality, rank.closeness))
    }

    #[test]
    fn ranges_are_read() {
        let none = (0, 0);
        let cases: [(&str, [(u16, u8); 3]); 24] = [
            ("", [none; 3]),
            ("*/*", [(1000, 1); 3]),
            ("*", [(1000, 1); 3]),
            ("application/json", [(1000, 4), none, none]),
            ("APPLICATION/Json", [(1000, 4), none, none]),
            ("application/json;charset=utf-8", [(1000, 4), none, none]),
            ("application/json; version=1", [(1000, 3), none, none]),
            ("application/*", [(1000, 2), none, (1000, 2)]),
            ("text/*;q=0.5", [none, (500, 2), none]),
            ("text/xml, application/xhtml+xml, image/png", [none; 3]),
            ("application/xml;q=0.9", [none, none, (900, 4)]),
            ("text/html , application/json ; q=0.123", [(123, 4), (1000, 4), none]),
            ("*/*;q=0.1,text/html;Q=1.000", [(100, 1), (1000, 4), (100, 1)]),
            ("text/html;q=0, */*", [(1000, 1), none, (1000, 1)]),
            ("application/json;q=0", [none; 3]),
            // RFC 9110's own example, turned to our formats.
            ("text/*;q=0.3, text/html;q=0.7, text/html;level=1, */*;q=0.5", [(500, 1), (700, 4), (500, 1)]),
            // Java's.
            ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", [(200, 1), (1000, 4), (200, 1)]),
            // Malformed ranges are not there; the others count.
            ("text/html;q=2, application/json;q=0.5", [(500, 4), none, none]),
            ("text/html;q=1.001, application/json;q=, application/xml;q", [none; 3]),
            ("text/html;q=-1, application/json;q=0x, application/xml;q=.", [none; 3]),
            (",;,text/html;;,", [none, (1000, 4), none]),
            ("application/json;q=0.12345", [(123, 4), none, none]),
            (r#"application/json;a="x,text/html;q=0.1\",text/html";q=0.4"#, [(400, 3), none, none]),
            (r#"application/json;a="never closed, text/html"#, [(1000, 3), none, none]),
        ];
        for (header, expected) in cases {
            assert_eq!(ranks(&[header]), expected, "{header}");
        }
        assert_eq!(ranks(&[]), [none; 3]);
        assert_eq!(ranks(&["text/html;q=0.2", "application/json"]), [(1000, 4), (200, 4), none]);
        assert_eq!(ranks(&["*/*", "text/html;q=0.2"]), [(1000, 1), (200, 4), (1000, 1)]);
    }

    #[test]
    fn no_bytes_are_too_odd() {
        let mut headers = HeaderMap::new();
        headers
            .append(header::ACCEPT, HeaderValue::from_bytes(b"text/html;q=\xff, \xff/\xff, application/json").unwrap());
        assert_eq!(Accept::of(&headers), read(&["application/json"]));
    }
}
