//! `Range: bytes=…` (RFC 9110, 14).

use std::ops::Range;

/// What of a file is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it.
    Whole,
    /// Some of it, never nothing.
    Part(Range<u64>),
    /// Only what lies beyond its end.
    Beyond,
}

/// Reads a `Range` header for a file of `length` bytes. What is malformed, of another unit, or several ranges at once
/// counts as no header: RFC 9110 leaves all of that to the server.
pub(crate) fn read(header: &str, length: u64) -> Asked {
    let Some((unit, set)) = header.split_once('=') else { return Asked::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Asked::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let range = match (first, last) {
        ("", last) => match number(last) {
            Some(count) => length.saturating_sub(count)..length,
            None => return Asked::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => first..length,
            None => return Asked::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
            _ => return Asked::Whole,
        },
    };
    if range.is_empty() { Asked::Beyond } else { Asked::Part(range) }
}

/// Digits; what no file can be as long as is the largest number.
fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_honoured() {
        for (header, range) in [
            ("bytes=1-2", 1..3),
            ("bytes=0-0", 0..1),
            ("Bytes = 3-", 3..5),
            ("bytes=-2", 3..5),
            ("bytes=-99", 0..5),
            ("bytes=2-99999999999999999999999", 2..5),
            ("bytes=4-18446744073709551615", 4..5),
        ] {
            assert_eq!(read(header, 5), Asked::Part(range), "{header}");
        }
    }

    #[test]
    fn beyond_the_end_is_nothing() {
        for header in ["bytes=5-", "bytes=5-9", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(read(header, 5), Asked::Beyond, "{header}");
        }
        assert_eq!(read("bytes=0-", 0), Asked::Beyond);
        assert_eq!(read("bytes=-1", 0), Asked::Beyond);
    }

    #[test]
    fn anything_else_is_the_whole() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=a-b", "bytes=+1-2", "bytes=1-2,4-4", "rows=1-2"]
        {
            assert_eq!(read(header, 5), Asked::Whole, "{header}");
        }
    }
}
