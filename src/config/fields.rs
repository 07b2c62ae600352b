//! How the common types of values are read and shown.

use crate::{
    reader::{Care, Reader, Text},
    schema::{Field, Shape, join},
    secret::{HIDDEN, Secret},
    units::{Size, parse_duration, show_duration},
    urls::{BrokerUrl, HttpUrl, ResultBackend, StoreUrl},
};
use figment::value::{Num, Value};
use ipnet::IpNet;
use serde_json::{Map, Value as Json, json};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Makes a field of a type that is read from text.
macro_rules! text_field {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::schema::Field for $type {
            const SHAPE: $crate::schema::Shape = $crate::schema::Shape::Value;

            fn read(
                value: &figment::value::Value,
                path: &str,
                reader: &mut $crate::reader::Reader<'_>,
            ) -> Option<Self> {
                reader.text(value, path)
            }

            fn show(&self) -> serde_json::Value {
                $crate::reader::Text::print(self).into()
            }
        }
    )*};
}
pub(crate) use text_field;

/// Declares an enum whose values are names; a wrong name is told the nearest one.
macro_rules! choice {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl $crate::reader::Text for $name {
            const EXPECTS: &'static str = concat!("one of" $(, " `", $text, "`")*);

            fn parse(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or_else(|| {
                    match $crate::schema::nearest(text, Self::ALL.iter().map(|known| known.as_str())) {
                        Some(near) => format!("expected {}: did you mean `{near}`?", Self::EXPECTS),
                        None => format!("expected {}", Self::EXPECTS),
                    }
                })
            }

            fn print(&self) -> String {
                self.as_str().to_owned()
            }
        }

        $crate::fields::text_field!($name);
    };
}
pub(crate) use choice;

text_field!(String, PathBuf, Secret, Duration, SocketAddr, IpNet, HttpUrl, BrokerUrl, ResultBackend, StoreUrl);

impl Text for String {
    const EXPECTS: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

impl Text for PathBuf {
    const EXPECTS: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') { Err("expected a path".to_owned()) } else { Ok(text.into()) }
    }

    fn print(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Text for Secret {
    const EXPECTS: &'static str = "a secret: the text itself, \"env:NAME\" or \"file:PATH\"";
    const CARE: Care = Care::Secret;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }

    fn print(&self) -> String {
        if self.is_empty() { String::new() } else { HIDDEN.to_owned() }
    }
}

impl Text for Duration {
    const EXPECTS: &'static str = "a duration with its unit, such as \"10s\"";

    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(|error| error.to_string())
    }

    fn print(&self) -> String {
        show_duration(*self)
    }
}

impl Text for SocketAddr {
    const EXPECTS: &'static str = "an address and port such as \"127.0.0.1:5000\" or \"[::1]:5000\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {} (not a host's name)", Self::EXPECTS))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Text for IpNet {
    const EXPECTS: &'static str = "a network such as \"10.0.0.0/8\" or \"::1/128\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| match text.parse::<IpAddr>() {
            Ok(address) => format!("expected a network: did you mean \"{}\"?", IpNet::from(address)),
            Err(_) => format!("expected {}", Self::EXPECTS),
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Text for HttpUrl {
    const EXPECTS: &'static str = "an http or https URL";
    const CARE: Care = Care::Hidden;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn print(&self) -> String {
        self.redacted()
    }
}

/// URLs that may carry passwords.
macro_rules! secret_url {
    ($($type:ty: $expects:literal),* $(,)?) => {$(
        impl Text for $type {
            const EXPECTS: &'static str = $expects;
            const CARE: Care = Care::Secret;

            fn parse(text: &str) -> Result<Self, String> {
                Self::parse(text)
            }

            fn print(&self) -> String {
                self.redacted()
            }
        }
    )*};
}
secret_url!(
    BrokerUrl: "`embedded`, or an amqp:// or amqps:// URL",
    ResultBackend: "`rpc`, `amqp`, or a redis:// URL",
    StoreUrl: "`sqlite:FILE`, `sqlite::memory:`, or a postgres:// URL",
);

/// Whole numbers; what each key admits beyond its type is validated later.
macro_rules! integer_field {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const SHAPE: Shape = Shape::Value;

            fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
                // The reader has checked the range, so that the conversion does not fail.
                reader.integer(value, path, 0, i128::from(<$type>::MAX)).and_then(|number| number.try_into().ok())
            }

            fn show(&self) -> Json {
                json!(self)
            }
        }
    )*};
}
integer_field!(u8, u16, u32);

impl Field for f64 {
    const SHAPE: Shape = Shape::Value;

    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        reader.number(value, path)
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Field for bool {
    const SHAPE: Shape = Shape::Value;

    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        reader.flag(value, path)
    }

    fn show(&self) -> Json {
        json!(self)
    }
}

impl Text for Size {
    const EXPECTS: &'static str = "a size such as \"2 MiB\"";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Field for Size {
    const SHAPE: Shape = Shape::Value;

    /// A text with its unit, or a plain number of bytes.
    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        match value {
            Value::Num(_, number) if !matches!(number, Num::F32(_) | Num::F64(_)) => {
                let bytes = reader.integer(value, path, 0, i128::from(u64::MAX))?;
                u64::try_from(bytes).ok().map(Size::of)
            }
            _ => reader.text(value, path),
        }
    }

    fn show(&self) -> Json {
        self.print().into()
    }
}

impl<T: Field> Field for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    /// An empty text is "not set".
    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        match (T::SHAPE, value) {
            (Shape::Value, Value::String(_, text)) if text.is_empty() => Some(None),
            _ => T::read(value, path, reader).map(Some),
        }
    }

    fn show(&self) -> Json {
        match (self, T::SHAPE) {
            (Some(field), _) => field.show(),
            (None, Shape::Value) => json!(""),
            (None, _) => Json::Null,
        }
    }

    fn differ(&self, other: &Self, path: &str, paths: &mut Vec<String>) {
        match (self, other) {
            (Some(this), Some(other)) => this.differ(other, path, paths),
            (None, None) => {}
            _ => paths.push(path.to_owned()),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    const SHAPE: Shape = Shape::Value;

    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let list = reader.list(value, path)?;
        // No short cut at the first wrong element: every one is told.
        let read: Vec<Option<T>> = list
            .iter()
            .enumerate()
            .map(|(index, element)| T::read(element, &format!("{path}[{index}]"), reader))
            .collect();
        read.into_iter().collect()
    }

    fn show(&self) -> Json {
        self.iter().map(Field::show).collect()
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    const SHAPE: Shape = match T::SHAPE {
        Shape::Table(keys) => Shape::Tables(keys),
        Shape::Value | Shape::Names | Shape::Tables(_) => Shape::Names,
    };

    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = reader.entries(value, path, Self::SHAPE)?;
        let mut map = Self::new();
        for (name, value) in entries {
            if let Some(field) = T::read(value, &join(path, name), reader) {
                map.insert(name.clone(), field);
            }
        }
        Some(map)
    }

    fn show(&self) -> Json {
        self.iter().map(|(name, field)| (name.clone(), field.show())).collect::<Map<_, _>>().into()
    }

    fn differ(&self, other: &Self, path: &str, paths: &mut Vec<String>) {
        for (name, field) in self {
            match other.get(name) {
                Some(other) => field.differ(other, &join(path, name), paths),
                None => paths.push(join(path, name)),
            }
        }
        paths.extend(other.keys().filter(|name| !self.contains_key(*name)).map(|name| join(path, name)));
    }
}
