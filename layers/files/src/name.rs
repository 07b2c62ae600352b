//! What a file may be called.

use std::fmt;
use uuid::Uuid;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 128;
/// The longest extension, in bytes.
pub const MAX_EXTENSION: usize = 10;

/// The name of a temporary file: safe as a path segment of a URL, as a file's name, and in a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a temporary file is 1 to {MAX_NAME} ASCII letters, digits, \"-\", \".\", \"_\" and \"~\", and does \
     not begin with a \".\""
)]
pub struct NameError;

impl Name {
    /// `text` as a name.
    ///
    /// # Errors
    /// If it is empty or too long, begins with a dot, or holds anything but unreserved characters (RFC 3986, 2.3).
    pub fn new(text: &str) -> Result<Self, NameError> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let fits = (1..=MAX_NAME).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(unreserved);
        if fits { Ok(Self(text.into())) } else { Err(NameError) }
    }

    /// A new name that nobody guesses (122 random bits), with this extension if it is 1 to 10 ASCII letters and digits.
    pub fn unguessable(extension: Option<&str>) -> Self {
        let id = Uuid::new_v4();
        let extension = extension.filter(|extension| is_extension(extension));
        Self(extension.map_or_else(|| id.to_string(), |extension| format!("{id}.{extension}")).into())
    }

    /// It, as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows its last dot.
    pub(crate) fn extension(&self) -> Option<&str> {
        self.0.rsplit_once('.').map(|(_, extension)| extension)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Is it an extension that we put at the end of a name of ours?
pub(crate) fn is_extension(text: &str) -> bool {
    (1..=MAX_EXTENSION).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_climb_hide_or_forge() {
        let longest = "x".repeat(MAX_NAME);
        for good in ["a", "first.txt", "A-b_c~1.tar.gz", "a..b", "-rf", &longest] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in
            ["", ".", "..", ".hidden", "../../etc/passwd", "/etc", "a/b", "a\\b", "a b", "é", "a\0", "a\n", "a\""]
        {
            assert_eq!(Name::new(bad), Err(NameError), "{bad:?}");
        }
        assert_eq!(Name::new(&long), Err(NameError));
    }

    #[test]
    fn names_of_ours_differ_and_are_names() {
        let (one, other) = (Name::unguessable(None), Name::unguessable(Some("wav")));
        assert_ne!(one.as_str(), &other.as_str()[..36]);
        assert_eq!((one.extension(), other.extension()), (None, Some("wav")));
        assert_eq!(Name::new(other.as_str()), Ok(other));
    }

    #[test]
    fn an_extension_is_letters_and_digits() {
        assert!(["a", "wav", "MP3", "0123456789"].into_iter().all(is_extension));
        assert!(!["", ".wav", "a/b", "a.b", "é", "01234567890", "a b", "a\0"].into_iter().any(is_extension));
    }
}
