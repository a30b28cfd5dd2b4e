//! From a record to a line: Python's `%(field)s` templates, and JSON objects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use jogi_config::local::{Log, LogFormat, LogType};
use serde_json::{Map, Value};

use super::record::Record;

/// How lines look.
#[derive(Debug)]
pub(super) enum Format {
    Plain { pieces: Vec<Piece>, dates: Dates },
    Json { fields: Vec<(String, String)>, constant: BTreeMap<String, String>, dates: Dates },
}

impl Format {
    pub(super) fn new(settings: &Log) -> Format {
        let dates = Dates { format: settings.dateformat.clone(), zone: TimeZone::system() };
        match (settings.kind, &settings.format) {
            (LogType::Plain, LogFormat::Template(template)) => Format::Plain { pieces: pieces(template), dates },
            (LogType::Plain, LogFormat::Fields(_)) => Format::Plain { pieces: pieces(DEFAULT), dates },
            (LogType::Json, format) => {
                let fields = match format {
                    LogFormat::Fields(fields) => fields.iter().map(|f| (f.field.clone(), f.printed.clone())).collect(),
                    LogFormat::Template(template) => named(&pieces(template)),
                };
                Format::Json { fields, constant: settings.static_fields.clone(), dates }
            }
        }
    }

    pub(super) fn line(&self, record: &Record) -> String {
        match self {
            Format::Plain { pieces, dates } => {
                let mut line: String = pieces.iter().map(|piece| piece.text(record, dates)).collect();
                line.push('\n');
                line
            }
            Format::Json { fields, constant, dates } => {
                let mut object = Map::new();
                for (field, printed) in fields {
                    let value = match field.as_str() {
                        "message" => Value::String(record.message.clone()),
                        field => value_of(field, record, dates),
                    };
                    object.insert(printed.clone(), value);
                }
                for (name, value) in &record.fields {
                    object.entry(name.clone()).or_insert_with(|| value.clone());
                }
                for (name, value) in constant {
                    object.insert(name.clone(), Value::String(value.clone()));
                }
                let mut line = jogi_config::python::json(&Value::Object(object));
                line.push('\n');
                line
            }
        }
    }
}

/// Patroni's template.
const DEFAULT: &str = "%(asctime)s %(levelname)s: %(message)s";

/// A part of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Field { name: String, left: bool, zeros: bool, width: usize },
}

impl Piece {
    fn text(&self, record: &Record, dates: &Dates) -> String {
        let (name, left, zeros, width) = match self {
            Piece::Text(text) => return text.clone(),
            Piece::Field { name, left, zeros, width } => (name, *left, *zeros, *width),
        };
        let text = jogi_config::python::str(&value_of(name, record, dates));
        match (left, zeros) {
            (true, _) => format!("{text:<width$}"),
            (false, true) => format!("{text:0>width$}"),
            (false, false) => format!("{text:>width$}"),
        }
    }
}

/// Splits a template. What is no field stays as it is: a log line must come out of any template.
fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("%%") {
            text.push('%');
            rest = after;
        } else if let Some((piece, after)) = field(rest) {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
            rest = after;
        } else {
            text.push('%');
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

/// `%(name)-8s` at the beginning of `text`, and what follows.
fn field(text: &str) -> Option<(Piece, &str)> {
    let (name, rest) = text.strip_prefix("%(")?.split_once(')')?;
    let flags = rest.len() - rest.trim_start_matches(['-', '0', '+', ' ', '#']).len();
    let (flags, rest) = rest.split_at(flags);
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (width, rest) = rest.split_at(digits);
    let rest = match rest.strip_prefix('.') {
        Some(precision) => precision.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let conversion = rest.chars().next().filter(char::is_ascii_alphabetic)?;
    let piece = Piece::Field {
        name: name.to_owned(),
        left: flags.contains('-'),
        zeros: flags.contains('0'),
        width: width.parse().unwrap_or(0).min(LONGEST_WIDTH),
    };
    Some((piece, &rest[conversion.len_utf8()..]))
}

/// A wider column is a mistake in the template, not a wish.
const LONGEST_WIDTH: usize = 1000;

fn named(pieces: &[Piece]) -> Vec<(String, String)> {
    let name = |piece: &Piece| match piece {
        Piece::Text(_) => None,
        Piece::Field { name, .. } => Some((name.clone(), name.clone())),
    };
    pieces.iter().filter_map(name).collect()
}

/// A field as Python's logging names it.
fn value_of(field: &str, record: &Record, dates: &Dates) -> Value {
    let file_name = || record.file.rsplit('/').next().unwrap_or("");
    match field {
        "asctime" => dates.text(record.at).into(),
        "created" => (record.at as f64 / 1e6).into(),
        "filename" => file_name().into(),
        "funcName" | "exc_info" | "exc_text" | "stack_info" => Value::String(String::new()),
        "levelname" => record.level.word().into(),
        "levelno" => record.level.number().into(),
        "lineno" => record.line.into(),
        "message" => record.text().into(),
        "module" => file_name().trim_end_matches(".rs").into(),
        "msecs" => (record.at.rem_euclid(1_000_000) / 1000).into(),
        "name" => record.target.replace("::", ".").into(),
        "pathname" => record.file.into(),
        "process" => std::process::id().into(),
        "processName" => "MainProcess".into(),
        "threadName" | "thread" => record.thread.clone().into(),
        other => record.fields.get(other).cloned().unwrap_or(Value::Null),
    }
}

/// How moments are written: Python's default, or a strftime format.
#[derive(Debug)]
pub(super) struct Dates {
    format: Option<String>,
    zone: TimeZone,
}

impl Dates {
    fn text(&self, at: i64) -> String {
        let Ok(timestamp) = Timestamp::from_microsecond(at) else { return at.to_string() };
        let zoned = timestamp.to_zoned_datetime(self.zone.clone());
        let given = self.format.as_deref().and_then(|format| jiff::fmt::strtime::format(format, &zoned).ok());
        given.unwrap_or_else(|| {
            let seconds = zoned.strftime("%Y-%m-%d %H:%M:%S");
            format!("{seconds},{:03}", at.rem_euclid(1_000_000) / 1000)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::record::Level;
    use super::*;

    fn utc(format: Option<&str>) -> Dates {
        Dates { format: format.map(str::to_owned), zone: TimeZone::UTC }
    }

    fn record() -> Record {
        let mut record = Record::message(Level::Warning, "lock lost".into());
        record.at = 1_795_384_990_123_456;
        record.fields.insert("member".into(), "a".into());
        record.fields.insert("tries".into(), 3.into());
        record
    }

    #[test]
    fn templates_print_as_python_prints_them() {
        for (template, expected) in [
            (DEFAULT, "2026-11-22 22:03:10,123 WARNING: lock lost member=a tries=3\n"),
            ("%(levelname)-9s|%(levelno)05d|%(levelname)9s|", "WARNING  |00030|  WARNING|\n"),
            ("100%% %(nosuch)s %(message", "100% None %(message\n"),
            ("%d %(name)s", "%d jogi_agent\n"),
        ] {
            let format = Format::Plain { pieces: pieces(template), dates: utc(None) };
            assert_eq!(format.line(&record()), expected, "{template}");
        }
    }

    #[test]
    fn dates_follow_the_format() {
        assert_eq!(utc(Some("%d.%m.%Y %H:%M")).text(record().at), "22.11.2026 22:03");
    }

    #[test]
    fn json_has_the_fields_asked_for_and_the_static_ones() {
        let format = Format::Json {
            fields: vec![("levelname".into(), "level".into()), ("message".into(), "message".into())],
            constant: BTreeMap::from([("app".to_owned(), "herd".to_owned())]),
            dates: utc(None),
        };
        let line = format.line(&record());
        let value: Value = serde_json::from_str(&line).expect("one JSON object");
        let expected = json!({"level": "WARNING", "message": "lock lost", "member": "a", "tries": 3, "app": "herd"});
        assert_eq!(value, expected);
        assert!(line.ends_with("}\n"));
    }
}
