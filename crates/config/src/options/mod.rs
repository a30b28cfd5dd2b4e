//! One table of every option: path, type, default, meaning, variable, how it is reloaded.

use serde_json::Value;

use crate::yaml::Lines;

/// Warnings about keys that nobody reads, naming the nearest known one.
pub fn unknown_keys(_config: &Value, _file: &str, _lines: &Lines) -> Vec<String> {
    todo!()
}

/// The reference page: every option of the local and the dynamic configuration, as Markdown tables.
pub fn reference_markdown() -> String {
    todo!()
}
