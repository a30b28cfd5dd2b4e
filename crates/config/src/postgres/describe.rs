//! What the installed `postgres` says about itself.

use std::collections::BTreeMap;

/// The parameters that `postgres --describe-config` lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeConfig {
    /// Lower-case name to vartype (`BOOLEAN`, `INTEGER`, `REAL`, `STRING`, `ENUM`).
    pub parameters: BTreeMap<String, String>,
}

impl DescribeConfig {
    /// Reads the tab-separated output.
    pub fn parse(_text: &str) -> DescribeConfig {
        todo!()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.parameters.contains_key(&name.to_lowercase())
    }
}
