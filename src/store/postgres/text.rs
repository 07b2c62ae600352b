//! PostgreSQL's text holds every character but NUL, and workers and tokens may send one.

use std::borrow::Cow;

/// The text without NUL: `\0` for NUL, `\\` for a backslash, all else as it is. [`unescape`] gives it back.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        Cow::Owned(text.replace('\\', r"\\").replace('\0', r"\0"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text that was escaped.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match (character, rest.clone().next()) {
            ('\\', Some('0')) => {
                plain.push('\0');
                rest.next();
            }
            ('\\', Some('\\')) => {
                plain.push('\\');
                rest.next();
            }
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in ["", "plain", "ä 語 🎧", "\0", "a\0b", r"C:\temp\0", "\\\0\\", r"\\0", "\u{1}\n"] {
            let escaped = escape(text);
            assert!(!escaped.contains('\0'), "{text:?}");
            assert_eq!(unescape(&escaped), text);
        }
        assert!(matches!(escape("no copy"), Cow::Borrowed(_)));
    }
}
