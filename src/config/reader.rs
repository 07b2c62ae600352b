//! Reads the merged tree of file, environment and command line into tables, and keeps every fault on the way.

use crate::{
    fault::Fault,
    schema::{Key, Shape, join, nearest, paths},
};
use figment::{
    Figment,
    value::{Dict, Num, Tag, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
};

/// How a TOML date arrives: a table with this one key.
const TOML_DATE: &str = "$__toml_private_datetime";
/// A secret in a file is at most this long.
const SECRET_MAX: u64 = 64 * 1024;

/// How careful one must be with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// May be quoted in a fault.
    Open,
    /// Never quoted.
    Hidden,
    /// Never quoted, and may be given as `env:NAME` or `file:PATH`.
    Secret,
}

/// What is read from a text.
pub(crate) trait Text: Sized {
    /// What the key takes: `an address and port such as "127.0.0.1:5000"`.
    const EXPECTS: &'static str;
    /// How careful one must be with it.
    const CARE: Care = Care::Open;

    /// Reads it, or says why not, in words that hold nothing of a text that is not [`Care::Open`].
    fn parse(text: &str) -> Result<Self, String>;

    /// The text again; secrets as `***`.
    fn print(&self) -> String;
}

/// Collects faults, and where each value came from, while tables are read.
pub(crate) struct Reader<'a> {
    figment: &'a Figment,
    environment: &'a BTreeMap<String, String>,
    root: Shape,
    faults: Vec<Fault>,
    /// Key path to the file, variable or command line that set it.
    origins: BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    /// A reader for values of `figment`; `environment` is where `env:NAME` looks, `root` the whole schema.
    pub(crate) fn new(figment: &'a Figment, environment: &'a BTreeMap<String, String>, root: Shape) -> Self {
        Self { figment, environment, root, faults: Vec::new(), origins: BTreeMap::new() }
    }

    /// The faults, and where each value came from.
    pub(crate) fn finish(self) -> (Vec<Fault>, BTreeMap<String, String>) {
        (self.faults, self.origins)
    }

    /// Notes a fault of the value at `path`.
    pub(crate) fn fault(&mut self, value: &Value, path: &str, reason: impl Into<String>) {
        let source = self.source(value, path);
        self.faults.push(Fault { source, key: path.to_owned(), reason: reason.into() });
    }

    /// The table at `path`; its keys that the schema does not know are faults already.
    pub(crate) fn entries<'v>(&mut self, value: &'v Value, path: &str, shape: Shape) -> Option<&'v Dict> {
        let entries = match value {
            Value::Dict(_, entries) if !entries.contains_key(TOML_DATE) => entries,
            _ => {
                self.fault(value, path, format!("expected a table, found {}", kind(value)));
                return None;
            }
        };
        if let Shape::Table(keys) = shape {
            for (name, value) in entries {
                if !keys.iter().any(|key| key.name == name) {
                    let reason = self.unknown(path, name, keys);
                    self.fault(value, &join(path, name), reason);
                }
            }
        }
        Some(entries)
    }

    /// A text read as `T`. What came from environment or command line is taken as it is, quotes, digits and all.
    pub(crate) fn text<T: Text>(&mut self, value: &Value, path: &str) -> Option<T> {
        self.origin(value, path);
        let Some(text) = self.plain(value, T::CARE) else {
            self.fault(value, path, format!("expected {}, found {}", T::EXPECTS, kind(value)));
            return None;
        };
        if text.contains(char::REPLACEMENT_CHARACTER) && self.raw(value) {
            self.fault(value, path, "the value is not UTF-8");
            return None;
        }
        let resolved = match T::CARE {
            Care::Secret => self.resolve(&text),
            Care::Open | Care::Hidden => Ok(text.clone()),
        };
        match resolved.and_then(|resolved| T::parse(&resolved)) {
            Ok(parsed) => Some(parsed),
            Err(reason) if T::CARE == Care::Open => {
                self.fault(value, path, format!("{}: {reason}", quote(&text)));
                None
            }
            Err(reason) => {
                self.fault(value, path, reason);
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer(&mut self, value: &Value, path: &str, least: i128, most: i128) -> Option<i128> {
        self.origin(value, path);
        let number = match value {
            Value::Num(_, Num::F32(_) | Num::F64(_)) => None,
            Value::Num(_, number) => {
                number.to_i128().or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
            }
            Value::String(_, text) if self.raw(value) => text.trim().parse().ok(),
            _ => None,
        };
        let fits = number.filter(|number| (least..=most).contains(number));
        if fits.is_none() {
            let found = number.map_or_else(|| kind(value).to_owned(), |number| number.to_string());
            self.fault(value, path, format!("expected a whole number from {least} to {most}, found {found}"));
        }
        fits
    }

    /// A finite number.
    pub(crate) fn number(&mut self, value: &Value, path: &str) -> Option<f64> {
        self.origin(value, path);
        let number = match value {
            Value::Num(_, number) => number.to_f64().or_else(|| number.to_i128().map(|number| number as f64)),
            Value::String(_, text) if self.raw(value) => text.trim().parse().ok(),
            _ => None,
        };
        let finite = number.filter(|number| number.is_finite());
        if finite.is_none() {
            self.fault(value, path, format!("expected a number, found {}", kind(value)));
        }
        finite
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, value: &Value, path: &str) -> Option<bool> {
        self.origin(value, path);
        let flag = match value {
            Value::Bool(_, flag) => Some(*flag),
            Value::String(_, text) if self.raw(value) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if flag.is_none() {
            self.fault(value, path, format!("expected true or false, found {}", kind(value)));
        }
        flag
    }

    /// The elements of a list. From the environment: TOML (`["a", "b"]`) or separated by commas.
    pub(crate) fn list(&mut self, value: &Value, path: &str) -> Option<Vec<Value>> {
        self.origin(value, path);
        match value {
            Value::Array(_, list) => return Some(list.clone()),
            Value::String(tag, text) if self.raw(value) => {
                let text = text.trim();
                if !text.starts_with('[') {
                    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                    return Some(parts.map(|part| Value::String(*tag, part.to_owned())).collect());
                }
                if let Some(Value::Array(_, list)) = inline(text) {
                    return Some(list);
                }
                self.fault(value, path, "expected a TOML list such as [\"a\", \"b\"], or texts separated by commas");
            }
            _ => self.fault(value, path, format!("expected a list, found {}", kind(value))),
        }
        None
    }

    /// Is the value the untyped text of an environment variable or command line argument?
    pub(crate) fn raw(&self, value: &Value) -> bool {
        // Layers made from the environment and the command line carry no `Source`; the file's carries its path.
        value.tag() != Tag::Default
            && self.figment.get_metadata(value.tag()).is_some_and(|metadata| metadata.source.is_none())
    }

    /// Where the value at `path` was written.
    fn source(&self, value: &Value, path: &str) -> String {
        match self.figment.get_metadata(value.tag()) {
            Some(metadata) => metadata.name.to_string(),
            // An element of a list that stood in a variable: it is the list that came from somewhere.
            None => origin_of(&self.origins, path).unwrap_or_default().to_owned(),
        }
    }

    /// Remembers where the value at `path` was written.
    pub(crate) fn origin(&mut self, value: &Value, path: &str) {
        let source = self.source(value, path);
        self.origins.insert(path.to_owned(), source);
    }

    /// The text of a value that is one, or of a date; of a number only when it is a secret (an all-digit password).
    fn plain(&self, value: &Value, care: Care) -> Option<String> {
        match value {
            Value::String(_, text) => Some(text.clone()),
            Value::Dict(_, date) => date.get(TOML_DATE).and_then(Value::as_str).map(str::to_owned),
            Value::Num(_, number) if care == Care::Secret => number.to_i128().map(|number| number.to_string()),
            _ => None,
        }
    }

    /// A secret's text: itself, or what `env:NAME` or `file:PATH` hold.
    fn resolve(&self, text: &str) -> Result<String, String> {
        let found = if let Some(name) = text.strip_prefix("env:") {
            // Somebody may have written the secret itself here: only what reads as a variable's name is quoted.
            let shown = if is_variable(name) { format!("`{name}`") } else { "named by `env:`".to_owned() };
            match self.environment.get(name) {
                None => return Err(format!("the environment variable {shown} is not set")),
                Some(text) if text.contains(char::REPLACEMENT_CHARACTER) => {
                    return Err(format!("the environment variable {shown} is not UTF-8"));
                }
                Some(text) if text.is_empty() => return Err(format!("the environment variable {shown} is empty")),
                Some(text) => text.clone(),
            }
        } else if let Some(path) = text.strip_prefix("file:") {
            let text = read_secret(path).map_err(|reason| format!("cannot read the file {path:?}: {reason}"))?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Err(format!("the file {path:?} is empty"));
            }
            text.to_owned()
        } else {
            text.to_owned()
        };
        Ok(found)
    }

    /// What to say about a key that is not known at `path`.
    fn unknown(&self, path: &str, name: &str, keys: &[Key]) -> String {
        if let Some(near) = nearest(name, keys.iter().map(|key| key.name)) {
            return format!("unknown key: did you mean `{}`?", join(path, near));
        }
        // Perhaps the right key under the wrong table.
        let service: Vec<&str> = path.splitn(3, '.').take(2).collect();
        let elsewhere = paths(self.root, "").into_iter().find(|known| known.rsplit('.').next() == Some(name));
        match elsewhere {
            Some(known) if known.starts_with("services.*") && service.first() == Some(&"services") => {
                format!("unknown key: did you mean `{}`?", known.replacen("services.*", &service.join("."), 1))
            }
            Some(known) => format!("unknown key: did you mean `{known}`?"),
            None => {
                let known: BTreeSet<&str> = keys.iter().map(|key| key.name).collect();
                let known: Vec<&str> = known.into_iter().collect();
                format!("unknown key; known here: {}", known.join(", "))
            }
        }
    }
}

/// Where the nearest of `path`, its list and its tables was written.
pub(crate) fn origin_of<'a>(origins: &'a BTreeMap<String, String>, path: &str) -> Option<&'a str> {
    let mut path = path;
    loop {
        if let Some(source) = origins.get(path) {
            return Some(source);
        }
        path = &path[..path.rfind(['.', '['])?];
    }
}

/// A TOML value that stands alone, as in an environment variable.
pub(crate) fn inline(text: &str) -> Option<Value> {
    use figment::providers::{Format, Toml};
    let mut entries: Dict = Toml::from_str(&format!("value = {text}")).ok()?;
    // More than one entry: the text smuggled in further lines.
    if entries.len() == 1 { entries.remove("value") } else { None }
}

/// What kind of value it is, for a fault that must not quote it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number (a text stands in quotes)",
        Value::Empty(..) => "nothing",
        Value::Dict(_, entries) if entries.contains_key(TOML_DATE) => "a date",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

/// The text in quotes, cut where it becomes too long for a line.
pub(crate) fn quote(text: &str) -> String {
    const LONG: usize = 80;
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Does it read as the name of an environment variable?
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The text of a small file.
fn read_secret(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > SECRET_MAX { Err(format!("it is longer than {SECRET_MAX} bytes")) } else { Ok(text) }
}
