//! YAML as PyYAML's `safe_load` reads it and `safe_dump` prints it.
//!
//! The hazard: Patroni's files are YAML 1.1 by way of PyYAML (`on` is a boolean, `0644` is 420, `1:30` is
//! 90, `<<` merges), and its tools print with PyYAML's quoting and folding. A reader of YAML 1.2 takes
//! some of these files otherwise, silently. Compared with the real PyYAML by the samples in `tests/`.

use serde_json::Value;

mod analyze;
mod emit;
mod read;
mod resolve;
mod scalar;

pub use emit::{Style, emit};
pub use read::{Document, Lines};

/// Where a text stopped being YAML that we can read. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    pub line: usize,
    pub column: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// Reads one document. An empty text is null.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    parse_document(text).map(|document| document.value)
}

/// Reads one document and remembers on which line each key stands.
pub fn parse_document(text: &str) -> Result<Document, YamlError> {
    read::read(text)
}

/// Prints as Patroni's tools do: block style, keys sorted, unicode as it is, folded at 200 columns.
pub fn dump(value: &Value) -> String {
    emit(value, &Style { width: 200, ..Style::default() })
}
