//! Ways to make a replica.

use serde_json::{Map, Value};

use super::ToolOptions;
use super::parameters::says_yes;
use super::tool_options::basebackup_options;
use crate::python;

/// A way to make a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaMethod {
    /// `basebackup` is built in.
    pub name: String,
    /// The method's own section: an object, or for basebackup also a list of options.
    pub section: Value,
}

/// What a method of one's own is told about the replica.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaTarget<'a> {
    pub scope: &'a str,
    pub data_dir: &'a str,
    /// Without a password; empty when there is no source.
    pub connection: &'a str,
}

impl ReplicaMethod {
    pub(super) fn of(name: &str, postgresql: &Map<String, Value>) -> ReplicaMethod {
        let section = postgresql.get(name).filter(|section| python::is_true(section)).cloned();
        ReplicaMethod { name: name.to_owned(), section: section.unwrap_or_else(|| Value::Object(Map::new())) }
    }

    pub fn is_basebackup(&self) -> bool {
        self.name == "basebackup"
    }

    fn flag(&self, key: &str) -> bool {
        says_yes(self.section.get(key))
    }

    /// Works without a running source.
    pub fn works_without_leader(&self) -> bool {
        !self.is_basebackup() && self.flag("no_leader")
    }

    /// Wants the data directory as it is, before and after.
    pub fn keeps_data(&self) -> bool {
        !self.is_basebackup() && self.flag("keep_data")
    }

    /// The command; the method's name when there is none. Split it by [`crate::shell::split`].
    pub fn command(&self) -> String {
        self.section.get("command").map_or_else(|| self.name.clone(), python::str)
    }

    /// The arguments after the command: the method's own keys as `--KEY=VALUE`, then what describes the
    /// replica, unless `no_params` asks for the own keys alone.
    pub fn arguments(&self, target: ReplicaTarget<'_>) -> Vec<String> {
        let mut arguments = self.section.as_object().cloned().unwrap_or_default();
        arguments.shift_remove("command");
        if self.flag("no_params") {
            ["no_params", "no_leader", "keep_data"].iter().for_each(|key| {
                arguments.shift_remove(*key);
            });
        } else {
            for (key, value) in [
                ("scope", target.scope),
                ("role", "replica"),
                ("datadir", target.data_dir),
                ("connstring", target.connection),
            ] {
                arguments.insert(key.to_owned(), value.into());
            }
        }
        arguments.iter().map(|(key, value)| format!("--{key}={}", python::str(value))).collect()
    }

    /// The user's options of pg_basebackup for this version.
    pub fn basebackup_options(&self, version: u32) -> ToolOptions {
        basebackup_options(version, &self.section)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_get_their_own_keys_and_the_target() {
        let method = |section: Value| ReplicaMethod { name: "wal_e".into(), section };
        let target = ReplicaTarget { scope: "demo", data_dir: "/d", connection: "host=a" };
        let full = method(json!({"command": "/bin/restore -x", "threshold": 10, "keep_data": true}));
        assert_eq!(full.command(), "/bin/restore -x");
        assert!(full.keeps_data() && !full.works_without_leader());
        assert_eq!(
            full.arguments(target),
            [
                "--threshold=10",
                "--keep_data=True",
                "--scope=demo",
                "--role=replica",
                "--datadir=/d",
                "--connstring=host=a"
            ]
        );
        let bare = method(json!({"no_params": true, "no_leader": 1, "a": "b"}));
        assert_eq!((bare.command(), bare.works_without_leader()), ("wal_e".to_owned(), true));
        assert_eq!(bare.arguments(target), ["--a=b"]);
    }
}
