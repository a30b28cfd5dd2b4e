//! The parameters that only the store may set.
//!
//! They decide whether a standby can follow and whether pg_rewind can work, so they must not differ
//! between members: local values are ignored, invalid ones of the store are replaced by the default.

use serde_json::Value;

use super::units::{parse_bool, parse_int};
use crate::python;

/// How the value of a controlled parameter is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Never settable: it follows from the local configuration.
    Fixed,
    WalLevel,
    True,
    Bool,
    AtLeast(i64),
    /// At least so many megabytes.
    AtLeastMegabytes(i64),
}

/// A controlled parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controlled {
    pub name: &'static str,
    /// Empty when it follows from the local configuration.
    pub default: &'static str,
    pub check: Check,
    /// First version that has it.
    pub since: u32,
    /// Passed on the postmaster's command line.
    pub command_line: bool,
}

const fn row(name: &'static str, default: &'static str, check: Check) -> Controlled {
    Controlled { name, default, check, since: 0, command_line: true }
}

/// In the order of the command line.
pub const CONTROLLED: [Controlled; 15] = [
    row("listen_addresses", "", Check::Fixed),
    row("port", "", Check::Fixed),
    row("cluster_name", "", Check::Fixed),
    row("wal_level", "hot_standby", Check::WalLevel),
    row("hot_standby", "on", Check::True),
    row("max_connections", "100", Check::AtLeast(25)),
    row("max_wal_senders", "10", Check::AtLeast(3)),
    Controlled { command_line: false, ..row("wal_keep_segments", "8", Check::AtLeast(1)) },
    Controlled { command_line: false, since: 130_000, ..row("wal_keep_size", "128MB", Check::AtLeastMegabytes(16)) },
    row("max_prepared_transactions", "0", Check::AtLeast(0)),
    row("max_locks_per_transaction", "64", Check::AtLeast(32)),
    row("track_commit_timestamp", "off", Check::Bool),
    row("max_replication_slots", "10", Check::AtLeast(4)),
    row("max_worker_processes", "8", Check::AtLeast(2)),
    row("wal_log_hints", "on", Check::Bool),
];

impl Controlled {
    pub fn of(name: &str) -> Option<&'static Controlled> {
        CONTROLLED.iter().find(|row| row.name.eq_ignore_ascii_case(name))
    }

    /// The default as a value; `None` when it follows from the local configuration.
    pub fn default_value(&self) -> Option<Value> {
        match self.check {
            Check::Fixed => None,
            Check::AtLeast(_) => self.default.parse::<i64>().ok().map(Value::from),
            Check::WalLevel | Check::True | Check::Bool | Check::AtLeastMegabytes(_) => Some(self.default.into()),
        }
    }

    /// The value to use for one of the store, or `None` when it is not valid. Whole numbers become numbers.
    pub fn accept(&self, value: &Value) -> Option<Value> {
        let accepted = |valid: bool| valid.then(|| value.clone());
        let number_or_same = || parse_int(value, None).map_or_else(|| value.clone(), Value::from);
        match self.check {
            Check::Fixed => None,
            Check::WalLevel => accepted(value.as_str().is_some_and(|level| {
                ["hot_standby", "replica", "logical"].iter().any(|known| level.eq_ignore_ascii_case(known))
            })),
            Check::True => accepted(parse_bool(value) == Some(true)),
            Check::Bool => accepted(parse_bool(value).is_some()),
            Check::AtLeast(least) => parse_int(value, None).filter(|n| *n >= least).map(|_| number_or_same()),
            Check::AtLeastMegabytes(least) => {
                parse_int(value, Some("MB")).filter(|n| *n >= least).map(|_| number_or_same())
            }
        }
    }

    /// What is said when a value is not accepted.
    pub(super) fn refusal(&self, value: &Value) -> String {
        let default = if self.default.is_empty() { "None" } else { self.default };
        format!("postgresql parameter {}={} failed validation, defaulting to {default}", self.name, python::str(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_accepted_or_refused_as_patroni_does() {
        for (name, value, accepted) in [
            ("max_connections", json!(24), None),
            ("max_connections", json!("25"), Some(json!(25))),
            ("MAX_CONNECTIONS", json!(300), Some(json!(300))),
            ("max_connections", json!("many"), None),
            ("wal_level", json!("LOGICAL"), Some(json!("LOGICAL"))),
            ("wal_level", json!("minimal"), None),
            ("hot_standby", json!(false), None),
            ("track_commit_timestamp", json!(true), Some(json!(true))),
            ("wal_keep_size", json!("1GB"), Some(json!("1GB"))),
            ("wal_keep_size", json!("15MB"), None),
            ("wal_keep_size", json!("512"), Some(json!(512))),
            ("port", json!(5432), None),
        ] {
            let row = Controlled::of(name).expect(name);
            assert_eq!(row.accept(&value), accepted, "{name}={value}");
        }
    }
}
