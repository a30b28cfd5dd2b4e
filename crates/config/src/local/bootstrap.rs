//! `bootstrap`: what makes a new cluster. Read once in a cluster's life.

use serde_json::{Map, Value};

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
