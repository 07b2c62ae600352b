//! Durations and sizes as people write them: `"1h30m"`, `"2 MiB"`.

use std::{fmt, time::Duration};
use thiserror::Error;

/// The longest duration admitted (a hundred years): adding it to any clock cannot overflow.
pub const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Why a text is no duration or size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnitError {
    /// It does not read as a duration.
    #[error("expected a duration with its unit, such as \"10s\", \"5m\" or \"1h30m\" (units: ms s m h d)")]
    Duration,
    /// It is longer than [`LONGEST`].
    #[error("expected a duration of at most 36500d")]
    TooLong,
    /// It does not read as a size.
    #[error("expected a size such as \"2 MiB\" or \"512 KiB\" (units: B KB MB GB TB KiB MiB GiB TiB)")]
    Size,
    /// It does not fit 64 bits of bytes.
    #[error("expected a size that fits 64 bits")]
    TooLarge,
}

/// Units of time in milliseconds, the longest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes, the largest first; the binary ones are those that we print.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration: whole numbers, each with its unit (`ms s m h d`), the longer unit first: `"250ms"`, `"1h 30m"`.
///
/// # Errors
/// A number without unit, an unknown unit, a fraction, units out of order, or more than [`LONGEST`].
///
/// ```
/// use std::time::Duration;
/// assert_eq!(gateway_config::parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// assert!(gateway_config::parse_duration("10").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Duration);
    }
    let mut total: u64 = 0;
    let mut units = TIMES.as_slice();
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit());
        let (unit, tail) = split(tail.trim_start(), |c| c.is_ascii_alphabetic());
        let at = units.iter().position(|(name, _)| *name == unit).ok_or(UnitError::Duration)?;
        if number.is_empty() {
            return Err(UnitError::Duration);
        }
        // Only digits are left, so that the one thing that can fail is their number.
        let number: u64 = number.parse().map_err(|_| UnitError::TooLong)?;
        let part = number.checked_mul(units[at].1).ok_or(UnitError::TooLong)?;
        total = total.checked_add(part).ok_or(UnitError::TooLong)?;
        units = &units[at + 1..];
        rest = tail.trim_start();
    }
    let total = Duration::from_millis(total);
    if total > LONGEST { Err(UnitError::TooLong) } else { Ok(total) }
}

/// The duration as [`parse_duration`] reads it, in the fewest units: `1d`, `1h30m`, `0s`. Below a millisecond is cut.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit) in TIMES {
        if left >= unit {
            text += &format!("{}{name}", left / unit);
            left %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a size: a whole number, its unit (upper or lower case) after it; without unit it counts bytes.
    ///
    /// # Errors
    /// A fraction, an unknown unit, no number, or more than 64 bits of bytes.
    ///
    /// ```
    /// assert_eq!(gateway_config::Size::parse("2 MiB").map(|size| size.bytes()), Ok(2 * 1024 * 1024));
    /// ```
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text.trim(), |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(UnitError::Size);
        }
        let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
        let unit = match unit.trim_start() {
            "" => 1,
            unit => SIZES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, bytes)| *bytes)
                .ok_or(UnitError::Size)?,
        };
        number.checked_mul(unit).map(Self).ok_or(UnitError::TooLarge)
    }
}

impl fmt::Display for Size {
    /// In the largest binary unit that leaves nothing over: `2 MiB`, `1500 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZES.iter().find(|(name, bytes)| {
            (name.ends_with("iB") || *bytes == 1) && self.0 >= *bytes && self.0.is_multiple_of(*bytes)
        });
        match unit {
            Some((name, bytes)) => write!(f, "{} {name}", self.0 / bytes),
            None => f.write_str("0 B"),
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits off the characters at the start that are `of` the kind.
fn split(text: &str, of: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !of(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("30d", 2_592_000_000),
            ("1h30m", 5_400_000),
            (" 1h 30m 5 s ", 5_405_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1.5h", "-1s", "10 apples", "1m1h", "1h1h", "1s x", "१s"] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
        for text in ["36501d", "99999999999999999999s", "18446744073709551615d", "36500d1ms"] {
            assert_eq!(parse_duration(text), Err(UnitError::TooLong), "{text}");
        }
        assert_eq!(parse_duration("36500d"), Ok(LONGEST));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("2 MiB", 2 << 20),
            ("10 GiB", 10 << 30),
            ("512 KiB", 512 << 10),
            ("100 B", 100),
            ("1 MB", 1_000_000),
            ("1mib", 1 << 20),
            ("77", 77),
            ("0", 0),
        ] {
            assert_eq!(Size::parse(text), Ok(Size::of(bytes)), "{text}");
        }
        for text in ["", "MiB", "1.5 GiB", "-1 B", "2 apples", "2 MiB x"] {
            assert_eq!(Size::parse(text), Err(UnitError::Size), "{text}");
        }
        for text in ["99999999999999999999", "18446744073709551615 KB"] {
            assert_eq!(Size::parse(text), Err(UnitError::TooLarge), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0s", "250ms", "1d", "1h30m", "2d3h4m5s6ms"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0 B", "1500 B", "2 MiB", "1 TiB", "3 GiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
    }
}
