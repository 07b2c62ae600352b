//! Reads assignments of literals from a Python module. Nothing is executed.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Dict(Vec<(String, Value)>),
}

/// What a module assigns, and what of it is no literal.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) names: BTreeMap<String, Value>,
    pub(super) skipped: Vec<Skipped>,
}

/// A statement that was passed over.
#[derive(Debug, PartialEq)]
pub(super) struct Skipped {
    pub(super) line: usize,
    pub(super) why: String,
}

/// Deeper nesting is no configuration.
const DEEPEST: usize = 64;

/// Reads every top-level `NAME = literal`. Statements of another kind are passed over and told.
pub(super) fn read(text: &str) -> Module {
    let mut module = Module::default();
    for (line, statement) in statements(text) {
        let first = statement.split_whitespace().next().unwrap_or_default();
        if ["import", "from"].contains(&first) || first.starts_with(['"', '\'']) {
            continue;
        }
        let target = statement.split_once('=').filter(|(name, rest)| is_name(name.trim()) && !rest.starts_with('='));
        let read = match target {
            Some((name, literal)) => {
                Reader::new(literal, &module.names).whole().map(|value| (name.trim().to_owned(), value))
            }
            None => Err(format!("`{first} …` is no assignment of a literal")),
        };
        match read {
            Ok((name, value)) => {
                module.names.insert(name, value);
            }
            Err(why) => module.skipped.push(Skipped { line, why }),
        }
    }
    module
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// The logical lines: brackets and strings may span several. Indented lines belong to the statement before them.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut scan = Scan::default();
    for (number, line) in text.lines().enumerate() {
        let goes_on = scan.is_open() || line.starts_with([' ', '\t']);
        let kept = scan.line(line);
        match found.last_mut() {
            Some((_, statement)) if goes_on => {
                statement.push('\n');
                statement.push_str(&kept);
            }
            _ if kept.trim().is_empty() => {}
            _ => found.push((number + 1, kept)),
        }
    }
    found
}

/// Follows brackets and strings over lines, and drops comments.
#[derive(Default)]
struct Scan {
    brackets: usize,
    quote: Option<String>,
    backslash: bool,
}

impl Scan {
    fn is_open(&self) -> bool {
        self.brackets > 0 || self.quote.is_some() || self.backslash
    }

    fn line(&mut self, line: &str) -> String {
        self.backslash = false;
        let mut kept = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let mut taken = c.len_utf8();
            match &self.quote {
                Some(_) if c == '\\' => taken += rest[taken..].chars().next().map_or(0, char::len_utf8),
                Some(quote) if rest.starts_with(quote.as_str()) => {
                    taken = quote.len();
                    self.quote = None;
                }
                Some(_) => {}
                None if c == '#' => break,
                None if c == '"' || c == '\'' => {
                    let triple = c.to_string().repeat(3);
                    let quote = if rest.starts_with(&triple) { triple } else { c.to_string() };
                    taken = quote.len();
                    self.quote = Some(quote);
                }
                None if "([{".contains(c) => self.brackets += 1,
                None if ")]}".contains(c) => self.brackets = self.brackets.saturating_sub(1),
                None => {}
            }
            kept.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
        if self.quote.as_ref().is_some_and(|quote| quote.len() == 1) && !line.ends_with('\\') {
            self.quote = None; // a string of one line that was never closed: told when it is read
        }
        if self.quote.is_none() && kept.ends_with('\\') {
            kept.pop();
            self.backslash = true;
        }
        kept
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    known: &'a BTreeMap<String, Value>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, known: &'a BTreeMap<String, Value>) -> Self {
        Self { rest: text.chars().peekable(), known }
    }

    fn whole(mut self) -> Result<Value, String> {
        let value = self.sum(0)?;
        match self.peek() {
            None => Ok(value),
            Some(c) => Err(format!("unexpected `{c}`: only literals are read")),
        }
    }

    fn peek(&mut self) -> Option<char> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_it = self.peek() == Some(wanted);
        if is_it {
            self.rest.next();
        }
        is_it
    }

    /// Values joined by `+`.
    fn sum(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        let mut value = self.item(depth)?;
        while self.take('+') {
            value = match (value, self.item(depth)?) {
                (Value::Text(a), Value::Text(b)) => Value::Text(a + &b),
                (Value::List(a), Value::List(b)) => Value::List([a, b].concat()),
                _ => return Err("`+` between other things than texts or lists".to_owned()),
            };
        }
        Ok(value)
    }

    fn item(&mut self, depth: usize) -> Result<Value, String> {
        let mut value = match self.peek().ok_or("a value is missing")? {
            '{' => self.dict(depth)?,
            '[' => Value::List(self.list('[', ']', depth)?.0),
            '(' => match self.list('(', ')', depth)? {
                (mut one, false) if one.len() == 1 => one.remove(0),
                (list, _) => Value::List(list),
            },
            '"' | '\'' => self.texts()?,
            c if c.is_ascii_digit() || c == '-' || c == '.' => self.number()?,
            c if c.is_alphabetic() || c == '_' => self.word()?,
            c => return Err(format!("unexpected `{c}`: only literals are read")),
        };
        while self.take('[') {
            let key = self.sum(depth + 1)?;
            if !self.take(']') {
                return Err("`]` is missing".to_owned());
            }
            value = index(&value, &key)?;
        }
        Ok(value)
    }

    /// The items, and whether a comma came after the last.
    fn list(&mut self, open: char, close: char, depth: usize) -> Result<(Vec<Value>, bool), String> {
        self.take(open);
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.take(close) {
            items.push(self.sum(depth + 1)?);
            comma = self.take(',');
            if !comma && self.peek() != Some(close) {
                return Err(format!("`{close}` is missing"));
            }
        }
        Ok((items, comma))
    }

    fn dict(&mut self, depth: usize) -> Result<Value, String> {
        self.take('{');
        let mut items = Vec::new();
        while !self.take('}') {
            let key = match self.sum(depth + 1)? {
                Value::Text(key) => key,
                _ => return Err("a key that is no text".to_owned()),
            };
            if !self.take(':') {
                return Err("`:` is missing after a key".to_owned());
            }
            items.push((key, self.sum(depth + 1)?));
            if !self.take(',') && self.peek() != Some('}') {
                return Err("`}` is missing".to_owned());
            }
        }
        Ok(Value::Dict(items))
    }

    fn number(&mut self) -> Result<Value, String> {
        let mut text = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || "+-._".contains(*c)) {
            text.push(c);
        }
        text.replace('_', "").parse().map(Value::Number).map_err(|_| format!("`{text}` is no number"))
    }

    fn word(&mut self) -> Result<Value, String> {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        if matches!(self.rest.peek(), Some('"' | '\'')) {
            return match word.to_ascii_lowercase().as_str() {
                "u" | "b" => self.texts(),
                "r" | "br" | "rb" | "ur" => self.raw(),
                _ => Err(format!("`{word}` before a text: only u, b and r are read")),
            };
        }
        match word.as_str() {
            "True" => Ok(Value::Bool(true)),
            "False" => Ok(Value::Bool(false)),
            "None" => Ok(Value::None),
            name => self.known.get(name).cloned().ok_or_else(|| format!("`{name}` is not a literal assigned above")),
        }
    }

    /// Texts that stand beside each other are one.
    fn texts(&mut self) -> Result<Value, String> {
        let mut text = self.text(false)?;
        while matches!(self.peek(), Some('"' | '\'')) {
            text.push_str(&self.text(false)?);
        }
        Ok(Value::Text(text))
    }

    fn raw(&mut self) -> Result<Value, String> {
        self.text(true).map(Value::Text)
    }

    fn text(&mut self, raw: bool) -> Result<String, String> {
        let open = "a text is not closed";
        let quote = self.rest.next().ok_or(open)?;
        let mut count = 1;
        while count < 3 && self.rest.next_if_eq(&quote).is_some() {
            count += 1;
        }
        if count == 2 {
            return Ok(String::new());
        }
        let mut text = String::new();
        let mut closing = 0;
        while closing < count {
            let c = self.rest.next().ok_or(open)?;
            if c == quote {
                closing += 1;
                continue;
            }
            text.extend(std::iter::repeat_n(quote, std::mem::take(&mut closing)));
            match c {
                '\\' if !raw => text.extend(self.escape().ok_or(open)?),
                c => text.push(c),
            }
        }
        Ok(text)
    }

    /// After a backslash; an unknown escape stays as it is, as in Python.
    fn escape(&mut self) -> Option<Vec<char>> {
        let c = self.rest.next()?;
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = (0..digits).filter_map(|_| self.rest.next_if(char::is_ascii_hexdigit)).collect();
            let read = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
            return Some(vec![read.unwrap_or(char::REPLACEMENT_CHARACTER)]);
        }
        Some(match c {
            '\n' => vec![],
            'n' => vec!['\n'],
            't' => vec!['\t'],
            'r' => vec!['\r'],
            '\\' | '\'' | '"' => vec![c],
            other => vec!['\\', other],
        })
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    let found = match (value, key) {
        (Value::Dict(items), Value::Text(key)) => {
            items.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
        }
        (Value::List(items), Value::Number(at)) if *at >= 0.0 => items.get(*at as usize),
        _ => None,
    };
    found.cloned().ok_or_else(|| "a subscript that is not there".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(literal: &str) -> Result<Value, String> {
        let module = read(&format!("D = {{'k': ['a', 'b']}}\nX = {literal}\n"));
        let why = module.skipped.first().map_or_else(String::new, |skipped| skipped.why.clone());
        module.names.get("X").cloned().ok_or(why)
    }

    fn text(text: &str) -> Result<Value, String> {
        Ok(Value::Text(text.to_owned()))
    }

    #[test]
    fn literals() {
        assert_eq!(value("'a' \"b\" u'c'[0]"), Err("unexpected `u`: only literals are read".to_owned()));
        assert_eq!(value("('a'\n  'b' + \"c\")"), text("abc"));
        assert_eq!(value(r#""\x41\u00e9\n\q""#), text("A\u{e9}\n\\q"));
        assert_eq!(value("r'\\n'"), text("\\n"));
        assert_eq!(value("'''it''s # no comment\n'''  # one"), text("it''s # no comment\n"));
        assert_eq!(value("''"), text(""));
        assert_eq!(value("D['k'][1]"), text("b"));
        assert_eq!(
            value("[1, -2.5, True, None,]").map(|list| matches!(list, Value::List(l) if l.len() == 4)),
            Ok(true)
        );
        assert_eq!(value("(1)"), Ok(Value::Number(1.0)));
        assert_eq!(value("(1,)"), Ok(Value::List(vec![Value::Number(1.0)])));
        assert_eq!(value("{'a': 1, # c\n 'b': {}}").map(|d| matches!(d, Value::Dict(d) if d.len() == 2)), Ok(true));
    }

    #[test]
    fn what_is_no_literal_is_told_and_never_run() {
        for wrong in
            ["os.environ['A']", "open('x').read()", "f'{1}'", "[x for x in y]", "'open", "{1: 2}", "1 + 1", "("]
        {
            assert!(value(wrong).is_err(), "{wrong}");
        }
        let module = read("import os\nif True:\n    A = 1\nB = 2\n");
        assert_eq!(module.names.keys().collect::<Vec<_>>(), ["B"]);
        assert_eq!(module.skipped.len(), 1);
        assert_eq!(module.skipped[0].line, 2);
    }

    #[test]
    fn deep_nesting_ends_with_an_error() {
        assert!(value(&"[".repeat(100_000)).is_err());
    }
}
