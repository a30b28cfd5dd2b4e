//! One table of every option: path, type, default, meaning, variable, how it is reloaded.
//!
//! Warnings about unknown keys, checks of the dynamic configuration and the reference page are made from
//! it, so that none of them can know of an option that the others do not.

mod reference;
mod table;
mod unknown;

use serde_json::{Map, Value};

pub use reference::reference_markdown;
pub use unknown::{unknown_dynamic_keys, unknown_keys};

use crate::postgres::kind_of;
use crate::postgres::units::{parse_bool, parse_int, parse_real};

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A text that is never shown.
    Secret,
    Bool,
    /// A boolean or this word.
    BoolOr(&'static str),
    /// Least and most.
    Integer(i64, i64),
    Port,
    /// A size with a unit.
    Bytes,
    /// A number of seconds.
    Seconds,
    /// Seconds, or a number with a unit of time.
    Duration,
    Word(&'static [&'static str]),
    /// HOST:PORT
    Address,
    Path,
    /// Split by shell rules.
    Command,
    List,
    Map,
    /// A dynamic configuration.
    Dcs,
    Any,
}

/// Where an option may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Local,
    Dynamic,
    /// In both; the local value wins.
    Both,
}

/// When a change of an option takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    AtReload,
    /// When the agent is restarted.
    AtRestart,
    /// When PostgreSQL is restarted.
    PostgresRestart,
    /// It makes a new cluster and is not read again.
    OnceInLife,
}

/// The variable of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Env {
    None,
    /// `PATRONI_` and the path in capitals.
    ByPath,
    Named(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionRow {
    /// Keys between dots; `*` is any key.
    pub path: &'static str,
    pub kind: Kind,
    /// As written; empty: none.
    pub default: &'static str,
    pub layer: Layer,
    pub reload: Reload,
    pub doc: &'static str,
    pub env: Env,
}

impl OptionRow {
    /// The name of the variable, if it has one.
    pub fn variable(&self) -> Option<String> {
        match self.env {
            Env::None => None,
            Env::Named(name) => Some(name.to_owned()),
            Env::ByPath => Some(format!("{}{}", crate::env::PREFIX, self.path.replace('.', "_").to_uppercase())),
        }
    }

    fn is_local(&self) -> bool {
        matches!(self.layer, Layer::Local | Layer::Both)
    }

    fn is_dynamic(&self) -> bool {
        matches!(self.layer, Layer::Dynamic | Layer::Both)
    }
}

/// Every option.
pub fn all() -> &'static [OptionRow] {
    table::TABLE
}

/// Warnings about the types and limits of a dynamic configuration; `place` goes before paths
/// (`bootstrap.dcs`, or nothing).
pub fn check_dynamic(config: &Value, place: &str) -> Vec<String> {
    let Value::Object(config) = config else {
        return vec![format!("{place}: expected a mapping, found {}", kind_of(config))];
    };
    let rows = all().iter().filter(|row| row.is_dynamic());
    let at = |path: &str| if place.is_empty() { path.to_owned() } else { format!("{place}.{path}") };
    rows.filter_map(|row| {
        let value = value_at(config, row.path).filter(|value| !value.is_null())?;
        let expected = mismatch(row.kind, value)?;
        let found = match (row.kind, value) {
            (Kind::Secret, _) | (_, Value::Array(_) | Value::Object(_)) => kind_of(value).to_owned(),
            (_, value) => format!("'{}'", crate::python::str(value)),
        };
        Some(format!("{}: expected {expected}, found {found}", at(row.path)))
    })
    .collect()
}

fn value_at<'v>(config: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let mut keys = path.split('.');
    let first = config.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}

/// What was expected instead of the value; `None` when it fits.
fn mismatch(kind: Kind, value: &Value) -> Option<String> {
    let scalar = matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    let fits = |fits: bool, expected: &str| (!fits).then(|| expected.to_owned());
    match kind {
        Kind::Any => None,
        Kind::Text | Kind::Secret | Kind::Address | Kind::Path | Kind::Command => fits(scalar, "a text"),
        Kind::Bool => fits(parse_bool(value).is_some(), "on or off"),
        Kind::BoolOr(word) => {
            let is_word = value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word));
            fits(is_word || parse_bool(value).is_some(), &format!("on, off or {word}"))
        }
        Kind::Integer(least, most) => {
            let limits = match (least, most) {
                (least, i64::MAX) => format!("a whole number of {least} or more"),
                (least, most) => format!("a whole number from {least} to {most}"),
            };
            fits(parse_int(value, None).is_some_and(|number| (least..=most).contains(&number)), &limits)
        }
        Kind::Port => fits(parse_int(value, None).is_some_and(|port| (0..=65535).contains(&port)), "a port"),
        Kind::Bytes => fits(parse_int(value, Some("B")).is_some(), "a size, for instance 512kB"),
        Kind::Seconds => fits(parse_real(value, None).is_some_and(|seconds| seconds >= 0.0), "seconds"),
        Kind::Duration => {
            fits(parse_int(value, Some("s")).is_some_and(|s| s >= 0), "seconds or a time, for instance 30min")
        }
        Kind::Word(words) => {
            let is_word = value.as_str().is_some_and(|text| words.iter().any(|word| word.eq_ignore_ascii_case(text)));
            fits(is_word, &format!("one of {}", words.join(", ")))
        }
        Kind::List => fits(value.is_array() || value.is_string(), "a list"),
        Kind::Map | Kind::Dcs => fits(value.is_object(), "a mapping"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_option_is_in_the_table_once_and_documented() {
        let mut seen = BTreeSet::new();
        for row in all() {
            assert!(seen.insert((row.path, row.is_dynamic())), "{} twice", row.path);
            assert!(row.doc.len() > 5, "{} has no text", row.path);
        }
    }

    #[test]
    fn every_variable_of_the_table_is_read() {
        for row in all() {
            let Some(variable) = row.variable() else { continue };
            let text = match row.kind {
                Kind::Bool => "on",
                Kind::Integer(..) | Kind::Port => "7",
                Kind::Map => "a: b",
                _ => "x",
            };
            let mut env = crate::env::Environment::from([(variable.clone(), text.to_owned())]);
            // Credentials of a store count beside another variable of its section.
            env.insert("PATRONI_ETCD_PROTOCOL".into(), "http".into());
            env.insert("PATRONI_ETCD3_PROTOCOL".into(), "http".into());
            env.insert(variable.clone(), text.to_owned());
            let read = crate::env::read(&env);
            assert!(value_at(&read.config, row.path).is_some(), "{variable} for {}", row.path);
        }
    }

    #[test]
    fn dynamic_values_are_checked() {
        let config = json!({
            "ttl": "30", "loop_wait": 0, "synchronous_mode": "Quorum", "pause": "maybe", "member_slots_ttl": "1h", "slots": [],
            "postgresql": {"use_pg_rewind": [1], "pg_hba": ["x"], "pg_ctl_timeout": "soon"}, "maximum_lag_on_failover": null,
        });
        assert_eq!(
            check_dynamic(&config, "bootstrap.dcs"),
            [
                "bootstrap.dcs.postgresql.pg_ctl_timeout: expected seconds, found 'soon'",
                "bootstrap.dcs.postgresql.use_pg_rewind: expected on or off, found a list",
                "bootstrap.dcs.loop_wait: expected a whole number of 1 or more, found '0'",
                "bootstrap.dcs.pause: expected on or off, found 'maybe'",
                "bootstrap.dcs.slots: expected a mapping, found a list",
            ]
        );
    }
}
