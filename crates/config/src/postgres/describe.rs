//! What the installed `postgres` says about itself.

use std::collections::BTreeMap;

/// The parameters that `postgres --describe-config` lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeConfig {
    /// Lower-case name to vartype (`BOOLEAN`, `INTEGER`, `REAL`, `STRING`, `ENUM`).
    pub parameters: BTreeMap<String, String>,
}

impl DescribeConfig {
    /// Reads the tab-separated output: name, context, group, type … (PostgreSQL: `help_config.c`). Lines
    /// that look otherwise are skipped.
    pub fn parse(text: &str) -> DescribeConfig {
        let row = |line: &str| {
            let mut columns = line.split('\t');
            let name = columns.next().filter(|name| !name.trim().is_empty())?;
            let kind = columns.nth(2)?;
            Some((name.trim().to_lowercase(), kind.to_owned()))
        };
        DescribeConfig { parameters: text.lines().filter_map(row).collect() }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.parameters.contains_key(&name.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_describe_config_are_read() {
        let text = "DateStyle\tuser\tClient\tSTRING\t\"ISO, MDY\"\t\t\tSets it.\t\n\
                    work_mem\tuser\tResource Usage / Memory\tINTEGER\t4096\t64\t2147483647\tSets it.\tLong.\n\nodd\n";
        let known = DescribeConfig::parse(text);
        assert!(known.contains("datestyle") && known.contains("work_mem") && !known.contains("odd"));
        assert_eq!(known.parameters["work_mem"], "INTEGER");
    }
}
