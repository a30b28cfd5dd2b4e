//! Reading one section: values of the expected type, warnings about the others.
//!
//! Patroni's daemon starts with values of odd types, so such a value is a warning and the default holds.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Problem;
use crate::postgres::units::{parse_bool, parse_int};
use crate::postgres::{kind_of, says_yes};
use crate::python;
use crate::{HostPort, Secret};

/// What is found while reading: problems keep the configuration from being used, warnings do not.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

impl Findings {
    pub fn problem(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { place: place.into(), message: message.into() });
    }

    pub fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }
}

/// One section of the configuration and its path.
#[derive(Clone)]
pub(super) struct Section<'c> {
    pub path: String,
    pub map: std::borrow::Cow<'c, Map<String, Value>>,
}

impl<'c> Section<'c> {
    /// The section; empty when absent or null. Something else than a mapping is a problem.
    pub fn of(config: &'c Map<String, Value>, key: &str, found: &mut Findings) -> Section<'c> {
        Self::at(config, key, key.to_owned(), found)
    }

    fn at(config: &'c Map<String, Value>, key: &str, path: String, found: &mut Findings) -> Section<'c> {
        let map = match config.get(key) {
            Some(Value::Object(map)) => std::borrow::Cow::Borrowed(map),
            None | Some(Value::Null) => std::borrow::Cow::Owned(Map::new()),
            Some(other) => {
                found.problem(path.clone(), format!("expected a mapping, found {}", kind_of(other)));
                std::borrow::Cow::Owned(Map::new())
            }
        };
        Section { path, map }
    }

    pub fn section(&'c self, key: &str, found: &mut Findings) -> Section<'c> {
        Self::at(&self.map, key, self.path_of(key), found)
    }

    pub fn into_owned(self) -> Section<'static> {
        Section { path: self.path, map: std::borrow::Cow::Owned(self.map.into_owned()) }
    }

    pub fn path_of(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// A value that somebody gave: null and the empty text are none.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| python::is_true_or_number(value))
    }

    /// The text of a scalar; a collection is a warning.
    pub fn text(&self, key: &str, found: &mut Findings) -> Option<String> {
        match self.get(key)? {
            value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)) => Some(python::str(value)),
            other => {
                self.ignored(key, "a text", other, found);
                None
            }
        }
    }

    fn ignored(&self, key: &str, expected: &str, value: &Value, found: &mut Findings) {
        found.warn(format!("{} is ignored: expected {expected}, found {}", self.path_of(key), kind_of(value)));
    }

    pub fn secret(&self, key: &str, found: &mut Findings) -> Option<Secret> {
        self.text(key, found).map(Secret::new)
    }

    pub fn path_value(&self, key: &str, found: &mut Findings) -> Option<PathBuf> {
        self.text(key, found).map(PathBuf::from)
    }

    /// Boolean words; otherwise Python's truth, with a warning.
    pub fn flag(&self, key: &str, default: bool, found: &mut Findings) -> bool {
        let Some(value) = self.get(key) else { return default };
        if parse_bool(value).is_none() {
            let path = self.path_of(key);
            found.warn(format!("{path}: expected on or off, found {}; it counts as on", kind_of(value)));
        }
        says_yes(Some(value))
    }

    /// A whole number within limits; outside of them the default holds, with a warning.
    pub fn number(&self, key: &str, default: i64, limits: std::ops::RangeInclusive<i64>, found: &mut Findings) -> i64 {
        let Some(value) = self.get(key) else { return default };
        match parse_int(value, None) {
            Some(number) if limits.contains(&number) => number,
            Some(number) => {
                let (path, least, most) = (self.path_of(key), limits.start(), limits.end());
                found.warn(format!("{path} is ignored: expected {least} to {most}, found {number}; {default} is used"));
                default
            }
            None => {
                self.ignored(key, "a whole number", value, found);
                default
            }
        }
    }

    /// A list of texts; a single text is a list of one, or of the items between commas.
    pub fn texts(&self, key: &str, found: &mut Findings) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().map(python::str).collect(),
            Some(Value::String(text)) => {
                text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
            Some(other) => {
                self.ignored(key, "a list", other, found);
                Vec::new()
            }
        }
    }

    /// Pairs of texts, in their order.
    pub fn pairs(&self, key: &str, found: &mut Findings) -> Vec<(String, String)> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Object(map)) => map.iter().map(|(key, value)| (key.clone(), python::str(value))).collect(),
            Some(other) => {
                self.ignored(key, "a mapping", other, found);
                Vec::new()
            }
        }
    }

    /// One of the given words, in any case.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)], default: T, found: &mut Findings) -> T {
        let Some(text) = self.text(key, found) else { return default };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            Some((_, choice)) => *choice,
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let path = self.path_of(key);
                found.warn(format!("{path} is ignored: expected one of {}, found '{text}'", words.join(", ")));
                default
            }
        }
    }

    /// An address. One that cannot be read is a problem.
    pub fn address(&self, key: &str, default_port: Option<u16>, found: &mut Findings) -> Option<HostPort> {
        let text = self.text(key, found)?;
        match HostPort::parse(&text, default_port) {
            Ok(address) => Some(address),
            Err(error) => {
                found.problem(self.path_of(key), error.to_string());
                None
            }
        }
    }

    /// As [`Section::address`], with a warning when other members cannot reach it.
    pub fn connect_address(&self, key: &str, default_port: Option<u16>, found: &mut Findings) -> Option<HostPort> {
        let address = self.address(key, default_port, found)?;
        if address.is_unreachable_from_others() {
            found.warn(format!(
                "{} is {address}: members on other machines cannot connect there; use an address of this machine that they can reach",
                self.path_of(key)
            ));
        }
        Some(address)
    }

    /// A value without which nothing starts.
    pub fn missing(&self, key: &str, what: &str, found: &mut Findings) {
        if !found.problems.iter().any(|problem| problem.place == self.path_of(key)) {
            found.problem(self.path_of(key), format!("is missing: expected {what}"));
        }
    }
}
