//! `log`: where log lines go and how they look.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::section::{Findings, Section};
use crate::postgres::kind_of;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogType {
    #[default]
    Plain,
    Json,
}

/// A field of a JSON line: its name in Python's logging and the name it is printed under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogField {
    pub field: String,
    pub printed: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Python's `%(asctime)s` templates.
    Template(String),
    Fields(Vec<LogField>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub kind: LogType,
    /// `DEBUG`, `INFO`, `WARNING`, `ERROR`, `CRITICAL`.
    pub level: String,
    pub traceback_level: String,
    pub format: LogFormat,
    pub dateformat: Option<String>,
    pub static_fields: BTreeMap<String, String>,
    pub max_queue_size: usize,
    /// None: standard error.
    pub dir: Option<PathBuf>,
    pub mode: Option<u32>,
    pub file_num: usize,
    /// Bytes.
    pub file_size: u64,
    /// Module name to level.
    pub loggers: BTreeMap<String, String>,
    pub deduplicate_heartbeat_logs: bool,
}

pub const DEFAULT_FORMAT: &str = "%(asctime)s %(levelname)s: %(message)s";
pub const DEFAULT_MAX_QUEUE_SIZE: i64 = 1000;
const DEFAULT_FILE_NUM: i64 = 4;
const DEFAULT_FILE_SIZE: i64 = 25_000_000;

/// What is accepted, and what it stands for.
const LEVELS: [(&str, &str); 7] = [
    ("DEBUG", "DEBUG"),
    ("INFO", "INFO"),
    ("WARN", "WARNING"),
    ("WARNING", "WARNING"),
    ("ERROR", "ERROR"),
    ("FATAL", "CRITICAL"),
    ("CRITICAL", "CRITICAL"),
];

impl Log {
    pub(super) fn read(section: &Section<'_>, found: &mut Findings) -> Log {
        let size = |key: &str, default: i64, found: &mut Findings| {
            usize::try_from(section.number(key, default, 0..=i64::MAX, found)).unwrap_or(0)
        };
        let mode = section.number("mode", -1, 0..=0o777, found);
        Log {
            kind: section.choice("type", &[("plain", LogType::Plain), ("json", LogType::Json)], LogType::Plain, found),
            level: section.choice("level", &LEVELS, "INFO", found).to_owned(),
            traceback_level: section.choice("traceback_level", &LEVELS, "ERROR", found).to_owned(),
            format: format(section, found),
            dateformat: section.text("dateformat", found),
            static_fields: section.pairs("static_fields", found).into_iter().collect(),
            max_queue_size: size("max_queue_size", DEFAULT_MAX_QUEUE_SIZE, found),
            dir: section.path_value("dir", found),
            mode: u32::try_from(mode).ok(),
            file_num: size("file_num", DEFAULT_FILE_NUM, found),
            file_size: u64::try_from(section.number("file_size", DEFAULT_FILE_SIZE, 0..=i64::MAX, found)).unwrap_or(0),
            loggers: section.pairs("loggers", found).into_iter().collect(),
            deduplicate_heartbeat_logs: section.flag("deduplicate_heartbeat_logs", false, found),
        }
    }
}

fn format(section: &Section<'_>, found: &mut Findings) -> LogFormat {
    match section.get("format") {
        Some(Value::Array(items)) => {
            let fields: Vec<LogField> = items.iter().filter_map(field).collect();
            if fields.len() < items.len() {
                found.warn("log.format: each item should be a string or a dictionary with string values");
            }
            LogFormat::Fields(fields)
        }
        Some(Value::String(template)) => LogFormat::Template(template.clone()),
        None => LogFormat::Template(DEFAULT_FORMAT.to_owned()),
        Some(other) => {
            found.warn(format!("log.format is ignored: expected a text or a list, found {}", kind_of(other)));
            LogFormat::Template(DEFAULT_FORMAT.to_owned())
        }
    }
}

fn field(item: &Value) -> Option<LogField> {
    match item {
        Value::String(name) => Some(LogField { field: name.clone(), printed: name.clone() }),
        Value::Object(map) if map.len() == 1 => {
            let (field, printed) = map.iter().next()?;
            Some(LogField { field: field.clone(), printed: printed.as_str()?.to_owned() })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
