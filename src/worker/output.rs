//! What a program writes: bounded, whatever it is.

use crate::progress::Progress;
use serde_json::{Value, value::RawValue};
use std::{future::Future, pin::pin};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    select,
};

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// What is kept of the line that explains a failure, in characters.
const EXPLANATION: usize = 1000;

/// Reads to the end, or until `enough`; gives each piece to `take`.
pub(crate) async fn drain(
    mut from: impl AsyncRead + Unpin,
    enough: impl Future<Output = ()>,
    mut take: impl FnMut(&[u8]),
) {
    let mut chunk = vec![0; CHUNK];
    let mut enough = pin!(enough);
    loop {
        select! {
            read = from.read(&mut chunk) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => take(&chunk[..n]),
            },
            () = &mut enough => return,
        }
    }
}

/// Cuts a stream into lines that end at `\n` or `\r`. Of an over-long line the rest is dropped.
pub(crate) struct Lines {
    line: Vec<u8>,
    max_line: usize,
}

impl Lines {
    pub(crate) fn new(max_line: usize) -> Self {
        Self { line: Vec::new(), max_line }
    }

    /// Calls `each` with every line that `piece` completes, without its end, empty ones left out.
    pub(crate) fn take(&mut self, piece: &[u8], mut each: impl FnMut(&str)) {
        for part in piece.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, ended) = match part.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (part, false),
            };
            let room = self.max_line.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end(&mut each);
            }
        }
    }

    /// Calls `each` with the line that no end of line ended.
    pub(crate) fn end(&mut self, mut each: impl FnMut(&str)) {
        if !self.line.is_empty() {
            each(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

/// Collects standard output: the result, without lines that are progress.
pub(crate) struct Collector<'a> {
    result: Vec<u8>,
    /// The line that may yet turn out to be progress; without an expression always empty.
    line: Vec<u8>,
    /// The line before was progress and ended at `\r`: a `\n` that follows belongs to it.
    returned: bool,
    /// The line is too long to be progress, so it goes to the result as it comes.
    passing: bool,
    too_large: bool,
    max_result: usize,
    max_line: usize,
    progress: &'a Progress,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(max_result: usize, max_line: usize, progress: &'a Progress) -> Self {
        let (result, line) = (Vec::new(), Vec::new());
        Self { result, line, returned: false, passing: false, too_large: false, max_result, max_line, progress }
    }

    /// Takes what came; `true` the first time that the result is too large. From then on everything is dropped.
    pub(crate) fn take(&mut self, piece: &[u8]) -> bool {
        if self.too_large {
            return false;
        }
        if self.progress.listens_to_output() {
            for part in piece.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
                self.take_part(part);
            }
        } else {
            self.keep(piece);
        }
        self.too_large
    }

    fn take_part(&mut self, part: &[u8]) {
        if self.passing {
            self.keep(part);
        } else {
            self.line.extend_from_slice(part);
        }
        if matches!(part.last(), Some(b'\n' | b'\r')) {
            self.end_line();
        } else if self.line.len() > self.max_line {
            self.passing = true;
            let line = std::mem::take(&mut self.line);
            self.keep(&line);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.passing = false;
        let belongs = std::mem::take(&mut self.returned) && line == b"\n";
        let text = String::from_utf8_lossy(&line);
        if belongs {
            return;
        }
        match self.progress.hear_output(text.trim_end_matches(['\n', '\r'])) {
            true => self.returned = line.ends_with(b"\r"),
            false => self.keep(&line),
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.result.len() + piece.len() > self.max_result {
            self.too_large = true;
            self.result = Vec::new();
        } else if !self.too_large {
            self.result.extend_from_slice(piece);
        }
    }

    /// The result; `None` if it was too large.
    pub(crate) fn finish(mut self) -> Option<Box<RawValue>> {
        self.end_line();
        (!self.too_large).then(|| result(&self.result))
    }
}

/// What standard output means: JSON, text, or nothing.
fn result(output: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(output);
    // Read as a value, not only as JSON text, so that whoever reads it later can: neither too deep nor out of range.
    if serde_json::from_str::<Value>(&text).is_ok()
        && let Ok(raw) = RawValue::from_string(text.trim_ascii().to_owned())
    {
        return raw;
    }
    match text.trim_end_matches(['\n', '\r']) {
        "" => RawValue::NULL.to_owned(),
        // A string is always written: it has no keys that are no strings and no failing serializer.
        text => serde_json::value::to_raw_value(text).expect("a string is JSON"),
    }
}

/// The last line of standard error that says something, to explain a failure with.
#[derive(Default)]
pub(crate) struct Explanation(String);

impl Explanation {
    pub(crate) fn take(&mut self, line: &str) {
        if !line.trim().is_empty() {
            self.0 = line.trim().chars().take(EXPLANATION).collect();
        }
    }

    /// `what`, and why.
    pub(crate) fn of(&self, what: &str) -> String {
        match self.0.as_str() {
            "" => what.to_owned(),
            line => format!("{what}: {line}"),
        }
    }
}

/// A line without what a terminal would obey.
pub(crate) fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    fn text(output: &[u8]) -> String {
        result(output).get().to_owned()
    }

    #[test]
    fn json_is_the_result_and_text_is_a_string() {
        assert_eq!(text(b""), "null");
        assert_eq!(text(b"\n\n"), "null");
        assert_eq!(text(b"{\"b\": 1, \"a\": 12345678901234567890123}\n"), "{\"b\": 1, \"a\": 12345678901234567890123}");
        assert_eq!(text(b" 5\n"), "5");
        assert_eq!(text(b"null"), "null");
        assert_eq!(text(b"two words\r\n"), "\"two words\"");
        assert_eq!(text(b"line\nline\n\n"), "\"line\\nline\"");
        assert_eq!(text(b"  indented"), "\"  indented\"");
        assert_eq!(text(b"a\xffb\0"), "\"a\u{fffd}b\\u0000\"");
        assert_eq!(text(b"{\"a\": 1} {\"a\": 2}"), r#""{\"a\": 1} {\"a\": 2}""#);
    }

    #[test]
    fn json_that_nobody_could_read_again_is_text() {
        assert!(text("[".repeat(500).as_bytes()).starts_with('"'));
        assert!(text(format!("{}{}", "[".repeat(500), "]".repeat(500)).as_bytes()).starts_with('"'));
        assert!(text(b"1e999").starts_with('"'));
        assert!(text(br#""\ud800""#).starts_with('"'));
    }

    #[test]
    fn a_result_may_be_as_large_as_its_limit_and_no_larger() {
        let progress = Progress::new(None);
        let mut fits = Collector::new(4, 100, &progress);
        assert!(!fits.take(b"12") && !fits.take(b"34"));
        assert_eq!(fits.finish().unwrap().get(), "1234");
        let mut large = Collector::new(4, 100, &progress);
        assert!(!large.take(b"1234"));
        assert!(large.take(b"5"), "told once");
        assert!(!large.take(b"6"));
        assert!(large.finish().is_none());
    }

    #[test]
    fn lines_that_are_progress_are_no_result() {
        let progress = Progress::new(Some(Regex::new(r"at (\d+)").unwrap()));
        let mut collector = Collector::new(100, 10, &progress);
        for piece in ["at 1\nresu", "lt\nat", " 2\rat 3 or so\n", "at 1111111111", "111\n", "at 4"] {
            assert!(!collector.take(piece.as_bytes()));
        }
        assert_eq!(collector.finish().unwrap().get(), r#""result\nat 3 or so\nat 1111111111111""#);
        let mut windows = Collector::new(100, 10, &progress);
        for piece in ["at 1\r\none\r\nat 2\r", "\n\ntwo\r\n", "at 3\r\n"] {
            assert!(!windows.take(piece.as_bytes()));
        }
        assert_eq!(windows.finish().unwrap().get(), r#""one\r\n\ntwo""#);
        assert!(progress.hear_error("at 4"));
    }

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        assert_eq!(plain("a\u{1b}[31mb\tc\u{9b}"), "a [31mb\tc ");
        let mut explanation = Explanation::default();
        assert_eq!(explanation.of("exit status 1"), "exit status 1");
        explanation.take(" why \n");
        explanation.take("  ");
        assert_eq!(explanation.of("exit status 1"), "exit status 1: why");
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_lines_as_the_whole(text in "[ab\r\n]{0,40}", cuts in prop::collection::vec(0..40_usize, 0..6)) {
            let whole: Vec<String> =
                text.split(['\n', '\r']).filter(|l| !l.is_empty()).map(|l| l.chars().take(5).collect()).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut lines, mut cut) = (Lines::new(5), Vec::new());
            for pair in cuts.windows(2) {
                lines.take(&text.as_bytes()[pair[0]..pair[1]], |line| cut.push(line.to_owned()));
            }
            lines.end(|line| cut.push(line.to_owned()));
            prop_assert_eq!(cut, whole);
        }

        #[test]
        fn whatever_a_program_writes_can_be_read(output: Vec<u8>) {
            prop_assert!(serde_json::from_str::<Value>(result(&output).get()).is_ok());
        }
    }
}
