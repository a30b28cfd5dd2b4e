//! `bootstrap`: what makes a new cluster. Read once in a cluster's life.

use serde_json::{Map, Value};

use super::section::{Findings, Section};
use crate::postgres::{INITDB_FORBIDDEN, ToolOptions, kind_of, says_yes};
use crate::python;

#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// The initial dynamic configuration, an object.
    pub dcs: Value,
    /// None: initdb.
    pub custom: Option<CustomBootstrap>,
    /// Options of initdb, ready to pass (`--data-checksums`, `--encoding=UTF8`), or why they cannot be used.
    pub initdb: Result<Vec<String>, Vec<String>>,
    /// Lines appended to `pg_hba.conf` when `postgresql.pg_hba` is not given.
    pub pg_hba: Vec<String>,
    /// `post_bootstrap` or `post_init`: a command, split by shell rules.
    pub post_bootstrap: Option<String>,
}

/// A method of one's own to make the first member.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomBootstrap {
    pub method: String,
    /// Split by shell rules, never run by a shell.
    pub command: String,
    /// Passed as `--key=value`.
    pub arguments: Vec<(String, String)>,
    /// Do not pass `--scope` and `--datadir`.
    pub no_params: bool,
    pub keep_existing_recovery_conf: bool,
    pub recovery_conf: Option<Map<String, Value>>,
}

/// Keys of a method that are no arguments of its command.
const RESERVED: [&str; 6] =
    ["command", "no_params", "keep_existing_recovery_conf", "recovery_conf", "scope", "datadir"];

impl Bootstrap {
    /// `citus` makes quorum commit the default.
    pub(super) fn read(section: &Section<'_>, citus: bool, found: &mut Findings) -> Bootstrap {
        let mut dcs = section.section("dcs", found).map.into_owned();
        if citus && !dcs.contains_key("synchronous_mode") {
            dcs.insert("synchronous_mode".into(), "quorum".into());
        }
        let options = ToolOptions::read("initdb", section.map.get("initdb").unwrap_or(&Value::Null), &INITDB_FORBIDDEN);
        let initdb = match options.problems.is_empty() {
            true => Ok(options.arguments),
            false => {
                options.problems.iter().for_each(|problem| {
                    found.warn(format!("bootstrap.initdb: {problem}; a new cluster cannot be made with it"));
                });
                Err(options.problems)
            }
        };
        if section.get("users").is_some() {
            found.warn("bootstrap.users is ignored: it was removed in Patroni 4.0; create roles by post_bootstrap");
        }
        Bootstrap {
            dcs: Value::Object(dcs),
            custom: CustomBootstrap::read(section, found),
            initdb,
            pg_hba: hba_lines(section, found),
            post_bootstrap: section.text("post_bootstrap", found).or_else(|| section.text("post_init", found)),
        }
    }
}

/// A block of text is as good as a list of its lines.
fn hba_lines(section: &Section<'_>, found: &mut Findings) -> Vec<String> {
    match section.get("pg_hba") {
        Some(Value::Array(lines)) => lines.iter().map(python::str).collect(),
        Some(Value::String(text)) => text.lines().map(str::to_owned).collect(),
        None => Vec::new(),
        Some(other) => {
            found.warn(format!("bootstrap.pg_hba is ignored: expected a list of lines, found {}", kind_of(other)));
            Vec::new()
        }
    }
}

impl CustomBootstrap {
    /// A method that has a command; without one initdb is used.
    fn read(section: &Section<'_>, found: &mut Findings) -> Option<CustomBootstrap> {
        let method = section.text("method", found).filter(|method| method != "initdb")?;
        let own = section.section(&method, found);
        let Some(command) = own.text("command", found) else {
            found.warn(format!("bootstrap.method is {method}, but bootstrap.{method} has no command: initdb is used"));
            return None;
        };
        let arguments = own.map.iter().filter(|(key, _)| !RESERVED.contains(&key.as_str()));
        let arguments = arguments.map(|(key, value)| (key.clone(), python::str(value))).collect();
        let recovery_conf = own.map.get("recovery_conf").and_then(Value::as_object).cloned();
        Some(CustomBootstrap {
            method,
            command,
            arguments,
            no_params: says_yes(own.map.get("no_params")),
            keep_existing_recovery_conf: says_yes(own.map.get("keep_existing_recovery_conf")),
            recovery_conf,
        })
    }
}
