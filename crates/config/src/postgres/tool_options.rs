//! Options that the configuration passes on to PostgreSQL's programs.

use serde_json::Value;

use crate::{python, shell};

/// Options of initdb that the agent sets itself or that make no sense here.
pub(crate) const INITDB_FORBIDDEN: [&str; 5] = ["pgdata", "nosync", "pwfile", "sync-only", "version"];
const BASEBACKUP_FORBIDDEN: [&str; 11] = [
    "pgdata",
    "format",
    "wal-method",
    "xlog-method",
    "gzip",
    "version",
    "dbname",
    "host",
    "port",
    "username",
    "password",
];

/// Options ready to pass, and what was wrong with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolOptions {
    pub arguments: Vec<String>,
    pub problems: Vec<String>,
}

impl ToolOptions {
    /// A list of `option` and `{option: value}`, or an object. Values lose one pair of quotes.
    pub(crate) fn read(tool: &str, options: &Value, forbidden: &[&str]) -> ToolOptions {
        let mut read = ToolOptions::default();
        match options {
            Value::Null => {}
            Value::Object(map) => {
                let pairs = map.iter().filter(|(key, value)| !key.is_empty() && python::is_true(value));
                pairs.for_each(|(key, value)| read.pair(tool, key, &python::str(value), forbidden));
            }
            Value::Array(items) => items.iter().for_each(|item| read.item(tool, item, forbidden)),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                read.problems.push(format!("{tool} options must be list or dict"));
            }
        }
        read
    }

    fn item(&mut self, tool: &str, item: &Value, forbidden: &[&str]) {
        match item {
            Value::String(option) => {
                if self.is_allowed(tool, option, forbidden) {
                    self.arguments.push(format!("--{option}"));
                }
            }
            Value::Object(map) => match map.iter().next() {
                Some((key, Value::String(value))) if map.len() == 1 => self.pair(tool, key, value, forbidden),
                first => {
                    let value = first.map_or_else(String::new, |(_, value)| python::str(value));
                    self.problems.push(format!(
                        "Error when parsing {tool} key-value option {value}: only one key-value is allowed and value should \
                         be a string"
                    ));
                }
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => self.problems.push(format!(
                "Error when parsing {tool} option {}: value should be string value or a single key-value pair",
                python::str(item)
            )),
        }
    }

    fn pair(&mut self, tool: &str, key: &str, value: &str, forbidden: &[&str]) {
        if self.is_allowed(tool, key, forbidden) {
            self.arguments.push(format!("--{key}={}", shell::unquote(value)));
        }
    }

    fn is_allowed(&mut self, tool: &str, option: &str, forbidden: &[&str]) -> bool {
        let allowed = !forbidden.contains(&option);
        if !allowed {
            self.problems.push(format!("{option} option for {tool} is not allowed"));
        }
        allowed
    }
}

/// The user's options of pg_basebackup. Compression on the client's side cannot be used: the files are
/// taken plain; on the server's side it can, from PostgreSQL 15 on.
pub(crate) fn basebackup_options(version: u32, options: &Value) -> ToolOptions {
    let mut forbidden = BASEBACKUP_FORBIDDEN.to_vec();
    if version < 150_000 {
        forbidden.push("compress");
    }
    let mut read = ToolOptions::read("basebackup", options, &forbidden);
    let before = read.arguments.len();
    read.arguments.retain(|argument| !argument.starts_with("--compress=") || argument.starts_with("--compress=server"));
    if read.arguments.len() < before {
        read.problems.push(
            "compress option for basebackup must use server-side compression (e.g., server-gzip, server-zstd). Client-side \
             compression is not allowed."
                .into(),
        );
    }
    read
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_become_arguments() {
        let read = ToolOptions::read(
            "initdb",
            &json!(["data-checksums", {"encoding": "UTF8"}, {"locale": "\"C UTF\""}, "pgdata", {"a": "b", "c": "d"}, {"n": 1}, 7]),
            &INITDB_FORBIDDEN,
        );
        assert_eq!(read.arguments, ["--data-checksums", "--encoding=UTF8", "--locale=C UTF"]);
        assert_eq!(read.problems.len(), 4, "{:?}", read.problems);
        assert_eq!(read.problems[0], "pgdata option for initdb is not allowed");
        let object = ToolOptions::read("initdb", &json!({"encoding": "UTF8", "empty": ""}), &[]);
        assert_eq!(object.arguments, ["--encoding=UTF8"]);
    }

    #[test]
    fn compression_is_the_servers() {
        let options = json!([{"compress": "server-zstd"}, {"compress": "gzip"}, {"max-rate": "100M"}]);
        let read = basebackup_options(150_000, &options);
        assert_eq!(read.arguments, ["--compress=server-zstd", "--max-rate=100M"]);
        assert_eq!(read.problems.len(), 1);
        assert_eq!(basebackup_options(140_000, &options).arguments, ["--max-rate=100M"]);
    }
}
