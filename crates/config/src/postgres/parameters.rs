//! The parameters of one server: command line and file.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{DescribeConfig, Effective};
use crate::Local;

/// Parameters by name, without regard to case; a name keeps the case it was last set with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, (String, Value)>);

impl Parameters {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(&name.to_lowercase()).map(|(_, value)| value)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(&name.to_lowercase())
    }

    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_lowercase(), (name.to_owned(), value));
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(&name.to_lowercase()).map(|(_, value)| value)
    }

    /// Name as written and value, by lower-case name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.values().map(|(name, value)| (name.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the postmaster is started with and what stands in `postgresql.conf`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerParameters {
    /// The server's version, for instance 150002.
    pub version: u32,
    /// All of them, before validation: what a running server is compared with.
    pub wanted: Parameters,
    /// Controlled parameters as `--name=value`, in Patroni's order.
    pub command_line: Vec<(String, String)>,
    /// `postgresql.conf`, validated for the version.
    pub file: BTreeMap<String, String>,
    /// Values left out or clamped, and why.
    pub warnings: Vec<String>,
}

impl ServerParameters {
    /// Takes the effective section for a server of this version; `known` are the parameters of the
    /// installed binary, for names that our own table does not have.
    pub fn new(_version: u32, _effective: &Effective, _local: &Local, _known: Option<&DescribeConfig>) -> Self {
        todo!()
    }

    /// Replaces or removes one parameter (`synchronous_standby_names`, `hot_standby_feedback`) and validates again.
    pub fn with(self, _name: &str, _value: Option<&str>, _known: Option<&DescribeConfig>) -> Self {
        todo!()
    }
}
