//! Warnings on stderr, in the form of Patroni's log: `2026-11-24 14:52:18,806 - WARNING - text`.
//!
//! The level comes from LOGLEVEL, PATRONI_LOGLEVEL, PATRONI_LOG_LEVEL (the last one counts); WARNING otherwise.

use std::fmt;

use jiff::ZonedDateTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const VARIABLES: [&str; 3] = ["LOGLEVEL", "PATRONI_LOGLEVEL", "PATRONI_LOG_LEVEL"];

/// Starts the log of this process; a second start changes nothing.
pub fn start() {
    let word = VARIABLES.iter().rev().find_map(|name| std::env::var(name).ok());
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(word.as_deref().map_or(LevelFilter::WARN, level))
        .event_format(PatroniLine);
    // Fails only where a log is running already.
    let _ = subscriber.try_init();
}

/// Python's names of levels, in any case, and its numbers.
fn level(word: &str) -> LevelFilter {
    match word.to_uppercase().as_str() {
        "DEBUG" | "NOTSET" | "10" | "0" => LevelFilter::DEBUG,
        "INFO" | "20" => LevelFilter::INFO,
        "ERROR" | "40" | "CRITICAL" | "FATAL" | "50" => LevelFilter::ERROR,
        _ => LevelFilter::WARN,
    }
}

struct PatroniLine;

impl<S, N> FormatEvent<S, N> for PatroniLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let mut text = Text::default();
        event.record(&mut text);
        let now = ZonedDateTime::now();
        let millis = now.subsec_nanosecond() / 1_000_000;
        writeln!(out, "{},{millis:03} - {level} - {}{}", now.strftime("%Y-%m-%d %H:%M:%S"), text.message, text.fields)
    }
}

/// The message, then the fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push_str(&format!(" {name}={value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_pythons() {
        for (word, expected) in [
            ("debug", LevelFilter::DEBUG),
            ("INFO", LevelFilter::INFO),
            ("WARNING", LevelFilter::WARN),
            ("40", LevelFilter::ERROR),
            ("nonsense", LevelFilter::WARN),
        ] {
            assert_eq!(level(word), expected, "{word}");
        }
    }
}
