//! The schema: which keys there are. It is made by the same lines that declare the structures and their defaults
//! (the `table!` macro), so that the three cannot disagree.

use crate::reader::Reader;
use figment::value::Value;
use serde_json::Value as Json;

/// What may stand under a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One value, or a list of them.
    Value,
    /// Names of the operator's choice, each with a value.
    Names,
    /// A table of these keys.
    Table(&'static [Key]),
    /// Names of the operator's choice, each with a table of these keys.
    Tables(&'static [Key]),
}

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What may stand under it.
    pub(crate) shape: Shape,
}

/// What can stand under a key: how it is read, and how it is shown.
pub(crate) trait Field: Sized + PartialEq {
    /// What the schema says about it.
    const SHAPE: Shape;

    /// The value, or `None` when it is wrong: then the reader has been told why.
    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self>;

    /// The value as one would write it; secrets as `***`.
    fn show(&self) -> Json;

    /// Adds the paths below `path` at which `other` differs.
    fn differ(&self, other: &Self, path: &str, paths: &mut Vec<String>) {
        if self != other {
            paths.push(path.to_owned());
        }
    }
}

/// Declares a table: structure, defaults, schema and reader from one list of `name: type = default`.
macro_rules! table {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::schema::Field for $name {
            const SHAPE: $crate::schema::Shape = $crate::schema::Shape::Table(&[$($crate::schema::Key {
                name: stringify!($field),
                shape: <$type as $crate::schema::Field>::SHAPE,
            },)*]);

            fn read(
                value: &figment::value::Value,
                path: &str,
                reader: &mut $crate::reader::Reader<'_>,
            ) -> Option<Self> {
                let entries = reader.entries(value, path, Self::SHAPE)?;
                let mut table = Self::default();
                $(if let Some(value) = entries.get(stringify!($field)) {
                    let path = $crate::schema::join(path, stringify!($field));
                    if let Some(field) = $crate::schema::Field::read(value, &path, reader) {
                        table.$field = field;
                    }
                })*
                Some(table)
            }

            fn show(&self) -> serde_json::Value {
                let mut shown = serde_json::Map::new();
                $(shown.insert(stringify!($field).to_owned(), $crate::schema::Field::show(&self.$field));)*
                shown.into()
            }

            fn differ(&self, other: &Self, path: &str, paths: &mut Vec<String>) {
                $({
                    let path = $crate::schema::join(path, stringify!($field));
                    $crate::schema::Field::differ(&self.$field, &other.$field, &path, paths);
                })*
            }
        }
    };
}
pub(crate) use table;

/// The path of `name` below `path`; a name that TOML would quote is quoted.
pub(crate) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b));
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The paths of every key that holds a value, `*` for a name of the operator's choice: `services.*.worker.command`.
pub(crate) fn paths(shape: Shape, path: &str) -> Vec<String> {
    match shape {
        Shape::Value | Shape::Names => vec![path.to_owned()],
        Shape::Table(keys) => keys.iter().flat_map(|key| paths(key.shape, &join(path, key.name))).collect(),
        Shape::Tables(keys) => paths(Shape::Table(keys), &join(path, "*")),
    }
}

/// The one of `known` that somebody who wrote `name` most likely meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let far = 1 + name.chars().count() / 3;
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        let known = ["listen", "public_url", "max_body"];
        assert_eq!(nearest("listn", known), Some("listen"));
        assert_eq!(nearest("maxbody", known), Some("max_body"));
        assert_eq!(nearest("LISTEN", known), Some("listen"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn paths_quote_what_toml_quotes() {
        assert_eq!(join("services", "a b"), "services.\"a b\"");
        assert_eq!(join("", "server"), "server");
    }
}
