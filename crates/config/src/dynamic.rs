//! The dynamic configuration: the store's `config` key, as people change it.

use serde_json::Value;

/// Merges a patch as `PATCH /config` and `edit-config --apply` do: null deletes, an object goes into an
/// object, scalars are compared as texts (`"1"` over `1` is no change), anything else replaces.
/// True when something changed.
pub fn patch(_config: &mut Value, _changes: &Value) -> bool {
    todo!()
}

/// Why an `-s` or `-p` argument was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("Invalid parameter setting {0}")]
    NoEquals(String),
    #[error("Invalid parameter setting {setting}: {source}")]
    BadValue { setting: String, source: crate::yaml::YamlError },
}

/// One `-s PATH=VALUE`: dots separate keys, below `postgresql.parameters` the rest is one name; the value
/// is YAML; null deletes; objects that become empty are removed.
pub fn set(_config: &mut Value, _setting: &str) -> Result<(), SetError> {
    todo!()
}

/// One `-p PARAMETER=VALUE`, short for `-s postgresql.parameters.PARAMETER=VALUE`.
pub fn set_parameter(config: &mut Value, setting: &str) -> Result<(), SetError> {
    set(config, &format!("postgresql.parameters.{setting}"))
}
