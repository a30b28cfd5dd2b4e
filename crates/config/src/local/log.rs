//! `log`: where log lines go and how they look.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
