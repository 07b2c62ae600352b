//! Files that a chain names before they are there.

use thiserror::Error;

/// The longest name in a place-holder, in bytes.
pub const MAX_ID: usize = 100;
/// The longest extension, in bytes.
const MAX_EXTENSION: usize = 10;

/// `s__ID__e` or `s__ID.EXT__e`: one temporary URL, the same wherever it is said in a chain.
///
/// ID is 1 to [`MAX_ID`] ASCII letters, digits, `-` and `_`; EXT is 1 to 10 letters and digits.
///
/// ```
/// use gateway_workflow::Placeholder;
///
/// let audio = Placeholder::read("s__audio.wav__e").expect("it looks like one").expect("and is one");
/// assert_eq!((audio.id, audio.extension), ("audio", Some("wav")));
/// assert!(Placeholder::read("audio.wav").is_none());
/// assert!(Placeholder::read("s__../../etc/passwd__e").is_some_and(|read| read.is_err()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder<'a> {
    /// Its name.
    pub id: &'a str,
    /// What the file's name ends in.
    pub extension: Option<&'a str>,
}

/// A text that looks like a place-holder and is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a place-holder: expected s__ID__e or s__ID.EXT__e, ID of 1 to {MAX_ID} letters, digits, - and _, EXT \
     of 1 to {MAX_EXTENSION} letters and digits"
)]
pub struct Malformed(String);

impl<'a> Placeholder<'a> {
    /// Reads one; `None` if the text does not begin and end like one.
    ///
    /// # Errors
    /// [`Malformed`], if what is between beginning and end is not as it should be.
    pub fn read(text: &'a str) -> Option<Result<Self, Malformed>> {
        let inner = text.strip_prefix("s__")?.strip_suffix("__e")?;
        let (id, extension) = inner.split_once('.').map_or((inner, None), |(id, extension)| (id, Some(extension)));
        let plain = |text: &str, most: usize, more: &[u8]| {
            (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric() || more.contains(&it))
        };
        let good = plain(id, MAX_ID, b"-_") && extension.is_none_or(|extension| plain(extension, MAX_EXTENSION, b""));
        Some(if good { Ok(Self { id, extension }) } else { Err(Malformed(text.chars().take(MAX_ID).collect())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_and_what_only_looks_like_one() {
        let long = format!("s__{}__e", "x".repeat(MAX_ID + 1));
        for none in ["", "s__", "__e", "s__e", "s___e", "file1", "s__a", "a__e", "S__a__e"] {
            assert_eq!(Placeholder::read(none), None, "{none}");
        }
        for bad in
            ["s____e", "s__.wav__e", "s__a.__e", "s__a.b.c__e", "s__a b__e", "s__é__e", "s__a.12345678901__e", &long]
        {
            assert!(Placeholder::read(bad).is_some_and(|read| read.is_err()), "{bad}");
        }
        let read = |text| Placeholder::read(text).and_then(Result::ok).map(|it| (it.id, it.extension));
        assert_eq!(read("s__a-1_b__e"), Some(("a-1_b", None)));
        assert_eq!(read("s__a__b.mp3__e"), Some(("a__b", Some("mp3"))));
    }
}
