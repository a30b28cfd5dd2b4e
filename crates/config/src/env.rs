//! The `PATRONI_*` variables as a configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The process environment, handed in by the caller.
pub type Environment = BTreeMap<String, String>;

pub const PREFIX: &str = "PATRONI_";
/// Holds a whole configuration as YAML. With it no other variable counts.
pub const CONFIGURATION: &str = "PATRONI_CONFIGURATION";

/// What the variables say, in the shape of the local configuration, with warnings about values that
/// could not be read (they are left out, as Patroni does).
#[derive(Clone, Default, PartialEq)]
pub struct FromEnvironment {
    pub config: Map<String, Value>,
    pub warnings: Vec<String>,
}

/// Reads every variable except `PATRONI_CONFIGURATION`.
pub fn read(_env: &Environment) -> FromEnvironment {
    todo!()
}
