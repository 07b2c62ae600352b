//! Texts that must not be printed.

use serde::{Serialize, Serializer};
use std::fmt;

/// What is printed instead of a secret.
pub(crate) const HIDDEN: &str = "***";

/// A secret text: prints as `***` in `Debug`, `Display` and when serialized; [`Secret::expose`] is the one way to it.
///
/// Comparing two secrets with `==` takes a time that depends on them: fine for two configurations, wrong for what
/// a client sends.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the place that uses it, never for a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Is none set?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_itself_only_when_asked() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "canary");
        assert!(!secret.is_empty() && Secret::default().is_empty());
    }
}
