//! Rows in patronictl's formats.

use std::fmt::Display;
use std::io::Write;

use clap::ValueEnum;
use jogi_config::{python, yaml};
use serde_json::Value;

use crate::failure::Failure;
use crate::table;

/// `-f`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Pretty,
    Tsv,
    Json,
    Yaml,
    Yml,
}

/// Prints a line on stdout. An error means that nobody reads any more.
pub fn say(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Rows below the names of their columns, which may be unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub columns: Option<Vec<String>>,
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The text in `format`, as patronictl's `print_output` makes it, without the last line break.
    pub fn render(&self, format: Format, delimiter: &str) -> String {
        match format {
            Format::Pretty => self.pretty(""),
            Format::Tsv => self.separated(delimiter),
            Format::Json => python::json(&self.objects(false)),
            Format::Yaml | Format::Yml => yaml::dump(&self.objects(false)),
        }
    }

    /// A row per object; with `sparse` without the keys whose text is empty.
    pub fn objects(&self, sparse: bool) -> Value {
        let columns = self.columns.as_deref().unwrap_or_default();
        let object = |row: &Vec<Value>| {
            let pairs = columns.iter().zip(row).filter(|(_, value)| !sparse || !python::str(value).is_empty());
            Value::Object(pairs.map(|(column, value)| (column.clone(), value.clone())).collect())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    pub fn separated(&self, delimiter: &str) -> String {
        let rows = self.rows.iter().map(|row| row.iter().map(python::str).collect::<Vec<_>>().join(delimiter));
        self.columns.iter().map(|columns| columns.join(delimiter)).chain(rows).collect::<Vec<_>>().join("\n")
    }

    /// The table; columns without names are `Field 1`, `Field 2` …
    pub fn pretty(&self, title: &str) -> String {
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(python::str).collect()).collect();
        let nameless = || (1..=rows.first().map_or(0, Vec::len)).map(|i| format!("Field {i}")).collect();
        let columns = self.columns.clone().unwrap_or_else(nameless);
        table::draw(title, &columns, &rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> Rows {
        Rows {
            columns: Some(vec!["a".into(), "b".into()]),
            rows: vec![vec![json!(1), json!("é")], vec![Value::Null, json!("")]],
        }
    }

    #[test]
    fn each_format_is_patronictls() {
        let rows = rows();
        assert_eq!(rows.render(Format::Tsv, "\t"), "a\tb\n1\té\nNone\t");
        assert_eq!(rows.render(Format::Tsv, ";"), "a;b\n1;é\nNone;");
        assert_eq!(rows.render(Format::Json, ""), r#"[{"a": 1, "b": "\u00e9"}, {"a": null, "b": ""}]"#);
        assert_eq!(rows.render(Format::Yaml, ""), "- a: 1\n  b: é\n- a: null\n  b: ''\n");
        assert_eq!(rows.render(Format::Yml, ""), rows.render(Format::Yaml, ""));
        assert_eq!(python::json(&rows.objects(true)), r#"[{"a": 1, "b": "\u00e9"}, {"a": null}]"#);
    }

    #[test]
    fn columns_without_names_are_numbered() {
        let rows = Rows { columns: None, rows: vec![vec![json!("now"), json!("why")]] };
        assert_eq!(rows.render(Format::Tsv, "\t"), "now\twhy");
        assert!(rows.render(Format::Pretty, "").contains("| Field 1 | Field 2 |"));
        assert_eq!(rows.render(Format::Json, ""), "[{}]");
    }
}
