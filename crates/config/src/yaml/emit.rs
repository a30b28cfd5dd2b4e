//! Printing values as PyYAML's `safe_dump`.

use serde_json::Value;

/// What `safe_dump` is told. The default is what most callers pass: block style, sorted keys, unicode as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    pub sort_keys: bool,
    /// False escapes everything outside ASCII.
    pub allow_unicode: bool,
    /// True prints on one line where it fits: `{a: 1, b: [2]}`.
    pub flow: bool,
    /// The column after which long texts are folded.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { sort_keys: true, allow_unicode: true, flow: false, width: 80 }
    }
}

/// The document, ending in a line break.
pub fn emit(_value: &Value, _style: &Style) -> String {
    todo!()
}
