//! One log line before it has a form: what was said, where, when, how loud.

use std::fmt::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::LevelFilter;

/// Python's levels, under which every setting and line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    /// A configured level; a word that Python does not know is INFO.
    pub(super) fn parse(word: &str) -> Level {
        match word.trim().to_ascii_uppercase().as_str() {
            "DEBUG" | "NOTSET" | "TRACE" => Level::Debug,
            "WARNING" | "WARN" => Level::Warning,
            "ERROR" => Level::Error,
            "CRITICAL" | "FATAL" => Level::Critical,
            _ => Level::Info,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        }
    }

    /// Python's number of the level.
    pub(super) fn number(self) -> u32 {
        match self {
            Level::Debug => 10,
            Level::Info => 20,
            Level::Warning => 30,
            Level::Error => 40,
            Level::Critical => 50,
        }
    }

    pub(super) fn filter(self) -> LevelFilter {
        match self {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
        }
    }
}

/// What was logged. An ERROR with the field `critical = true` is Python's CRITICAL.
#[derive(Debug)]
pub(super) struct Record {
    pub level: Level,
    pub message: String,
    /// The other fields, in order.
    pub fields: Map<String, Value>,
    pub target: &'static str,
    pub file: &'static str,
    pub line: u32,
    pub thread: String,
    /// Microseconds since 1970 UTC.
    pub at: i64,
}

impl Record {
    pub(super) fn of(event: &tracing::Event<'_>) -> Record {
        let metadata = event.metadata();
        let mut record = Record::message(level(metadata.level()), String::new());
        record.target = metadata.target();
        record.file = metadata.file().unwrap_or("");
        record.line = metadata.line().unwrap_or(0);
        event.record(&mut Fields(&mut record));
        if record.fields.get("critical") == Some(&Value::Bool(true)) {
            record.fields.shift_remove("critical");
            record.level = Level::Critical;
        }
        record
    }

    pub(super) fn message(level: Level, message: String) -> Record {
        let thread = match std::thread::current().name() {
            // As Python calls it.
            Some("main") => "MainThread",
            other => other.unwrap_or("?"),
        }
        .to_owned();
        let at = jogi_net::wall_now().0;
        Record { level, message, fields: Map::new(), target: "jogi_agent", file: "", line: 0, thread, at }
    }

    /// The message with the other fields behind it, as ` name=value`; line breaks inside are kept.
    pub(super) fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            match value {
                Value::String(s) => write!(text, " {name}={s}"),
                other => write!(text, " {name}={other}"),
            }
            .unwrap_or_default();
        }
        text
    }
}

fn level(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
    }
}

struct Fields<'a>(&'a mut Record);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.0.message = text,
            (name, value) => {
                self.0.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }
}
