//! What a value must look like.

use std::net::IpAddr;

use jogi_config::{HostPort, yaml};
use serde_json::Value;

/// How the text of a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Path,
    Ip,
    Port,
    HostPort,
    /// An address with `http` or `https` (`s3` endpoints also as `https+path`).
    Url,
    Integer {
        least: i64,
        most: i64,
    },
    /// Seconds, or a number with `s`, `m`, `h` or `d`, as timeout(1) reads it.
    Duration,
    /// Any text is true, but an empty one and those of [`is_false`].
    Flag,
    /// True only as the text `true`.
    True,
    /// True as `1`, `true`, `on`.
    Switch,
    OneOf(&'static [&'static str]),
    /// A PostgreSQL version as its directory is named: `18`, `9.6`.
    Version,
    Cron,
    /// A JSON object with texts.
    JsonTexts,
    /// YAML or JSON.
    Mapping,
    /// A YAML or JSON list of lines of a crontab.
    Crontab,
    /// Addresses between commas or as a YAML list.
    Hosts,
    /// A point of time with its zone.
    Time,
    Timeline,
    /// PEM blocks.
    Pem,
    /// Read by nobody.
    Any,
}

/// The texts that mean false. Spilo takes them for true.
pub(crate) fn is_false(text: &str) -> bool {
    ["false", "0", "no", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

const WORDS_OF_TRUTH: [&str; 4] = ["true", "1", "yes", "on"];

impl Kind {
    /// What is expected, if the text is not that. An empty text is nobody's business here.
    pub(super) fn refuse(self, text: &str) -> Option<String> {
        if text.contains('\0') {
            return Some("a text without zero bytes".to_owned());
        }
        match self {
            Kind::Crontab => crontab(text).err(),
            Kind::Mapping => mapping(text).err(),
            Kind::Hosts => hosts(text).err(),
            Kind::Cron => cron(text).err(),
            _ => (!self.fits(text)).then(|| self.expected()),
        }
    }

    fn fits(self, text: &str) -> bool {
        match self {
            Kind::Text | Kind::Flag | Kind::Any => true,
            Kind::Crontab | Kind::Mapping | Kind::Hosts | Kind::Cron => true,
            Kind::Path => text.starts_with('/') && !text.contains('\n'),
            Kind::Ip => text.parse::<IpAddr>().is_ok(),
            Kind::Port => matches!(text.parse::<u16>(), Ok(1..)),
            Kind::HostPort => HostPort::parse(text, None).is_ok_and(|address| !address.host.is_empty()),
            Kind::Url => is_url(text),
            Kind::Integer { least, most } => text.parse::<i64>().is_ok_and(|n| (least..=most).contains(&n)),
            Kind::Duration => is_duration(text),
            Kind::True | Kind::Switch => {
                is_false(text) || WORDS_OF_TRUTH.iter().any(|word| text.eq_ignore_ascii_case(word))
            }
            Kind::OneOf(words) => words.contains(&text),
            Kind::Version => is_version(text),
            Kind::JsonTexts => json_texts(text).is_some(),
            Kind::Time => is_time(text),
            Kind::Timeline => matches!(text, "latest" | "current") || text.parse::<u32>().is_ok_and(|n| n > 0),
            Kind::Pem => text.contains("-----BEGIN ") && text.contains("-----END "),
        }
    }

    /// In words, for refusals and the reference page.
    pub fn expected(self) -> String {
        let words = match self {
            Kind::Text => "a text",
            Kind::Path => "an absolute path",
            Kind::Ip => "an IPv4 or IPv6 address",
            Kind::Port => "a port, 1 to 65535",
            Kind::HostPort => "host:port (IPv6 in brackets)",
            Kind::Url => "an address that begins with http:// or https://",
            Kind::Integer { least, most: i64::MAX } => return format!("a whole number from {least} on"),
            Kind::Integer { least, most } => return format!("a whole number, {least} to {most}"),
            Kind::Duration => "seconds, or a number with s, m, h or d",
            Kind::Flag => "empty, false, 0, no or off for false; anything else is true",
            Kind::True => "true or false",
            Kind::Switch => "1, true or on; 0, false or off",
            Kind::OneOf(words) => return format!("one of {}", words.join(", ")),
            Kind::Version => "a PostgreSQL version, such as 18",
            Kind::Cron => "a cron schedule of five fields, such as 0 1 * * *",
            Kind::JsonTexts => "a JSON object with texts, such as {\"application\": \"spilo\"}",
            Kind::Mapping => "a YAML or JSON mapping",
            Kind::Crontab => "a YAML or JSON list of crontab lines",
            Kind::Hosts => "addresses between commas or a YAML list",
            Kind::Time => "a point of time with its zone, such as 2026-12-01T12:00:00+01:00",
            Kind::Timeline => "latest, current or the number of a timeline",
            Kind::Pem => "PEM text (-----BEGIN …-----)",
            Kind::Any => "anything",
        };
        words.to_owned()
    }
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let scheme = scheme.split_once('+').map_or(scheme, |(protocol, _)| protocol);
    matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.contains(char::is_whitespace)
}

fn is_duration(text: &str) -> bool {
    let number = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or(text);
    number.starts_with(|c: char| c.is_ascii_digit()) && number.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((major, minor)) => number(major) && number(minor),
        None => number(text),
    }
}

/// A date and time as RFC 3339 or PostgreSQL writes it, with an offset or `Z`/`UTC`.
fn is_time(text: &str) -> bool {
    let zone = jogi_config::Moment::read(text, jiff::civil::date(2000, 1, 1)).is_some_and(|m| m.offset().is_some());
    zone || text.parse::<jiff::Timestamp>().is_ok()
}

pub(crate) fn json_texts(text: &str) -> Option<Vec<(String, String)>> {
    let Ok(Value::Object(map)) = serde_json::from_str(text) else { return None };
    map.into_iter().map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect()
}

/// The mapping; an empty document is an empty one.
pub(crate) fn mapping(text: &str) -> Result<serde_json::Map<String, Value>, String> {
    match yaml::parse(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(serde_json::Map::new()),
        Ok(_) => Err(Kind::Mapping.expected()),
        // Without the reader's own words: they may quote a password.
        Err(error) => Err(format!("{} (line {}, column {})", Kind::Mapping.expected(), error.line, error.column)),
    }
}

/// As Spilo reads `…_HOSTS`: what is no list yet is put into brackets.
pub(crate) fn hosts(text: &str) -> Result<Value, String> {
    let is_list = text.trim_start().starts_with('-') || text.contains('[');
    let text = if is_list { text.to_owned() } else { format!("[{text}]") };
    match yaml::parse(&text) {
        Ok(value @ Value::Array(_)) => Ok(value),
        Ok(_) => Err(Kind::Hosts.expected()),
        Err(error) => Err(format!("{}: {error}", Kind::Hosts.expected())),
    }
}

/// Five fields, or a word with `@`; `@reboot` has no time: it is the start.
fn cron(schedule: &str) -> Result<(), String> {
    let word = schedule.starts_with('@');
    let fits = schedule.split_whitespace().count() == if word { 1 } else { 5 };
    match fits && (schedule == "@reboot" || schedule.parse::<croner::Cron>().is_ok()) {
        true => Ok(()),
        false => Err(Kind::Cron.expected()),
    }
}

/// The lines of a crontab: variables, comments, and schedules with a command behind them.
pub(crate) fn crontab(text: &str) -> Result<Vec<String>, String> {
    let wrong = || Kind::Crontab.expected();
    let items = match yaml::parse(text) {
        Ok(Value::Array(items)) => items,
        Ok(Value::Null) => return Ok(Vec::new()),
        Ok(_) => return Err(wrong()),
        Err(error) => return Err(format!("{}: {error}", wrong())),
    };
    let line = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(wrong);
    let lines: Vec<String> = items.iter().map(line).collect::<Result<_, _>>()?;
    for line in &lines {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') || is_assignment(trimmed) {
            continue;
        }
        let (schedule, command) = split_job(trimmed);
        if command.is_empty() || cron(&schedule).is_err() || line.contains('\n') {
            return Err(format!("{} (five fields of a schedule and a command): {line:?}", wrong()));
        }
    }
    Ok(lines)
}

/// `NAME=value`, which cron sets for the jobs below it.
fn is_assignment(line: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim_end();
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn split_job(line: &str) -> (String, String) {
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = fields.min(words.len());
    (words[..at].join(" "), words[at..].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_kind_or_say_what_was_expected() {
        let integer = Kind::Integer { least: 0, most: i64::MAX };
        for (kind, good, bad) in [
            (Kind::Port, "5432", "0"),
            (Kind::Port, "65535", "65536"),
            (Kind::HostPort, "[fe80::1]:5432", "pg.example.org"),
            (Kind::Url, "https+path://minio:9000", "minio:9000"),
            (integer, "0", "-1"),
            (Kind::Duration, "10m", "m"),
            (Kind::Duration, "1.5", "inf"),
            (Kind::True, "FALSE", "maybe"),
            (Kind::Version, "9.6", "latest"),
            (Kind::Cron, "*/5 * * * *", "61 * * * *"),
            (Kind::Cron, "@daily", "0 1 * *"),
            (Kind::JsonTexts, r#"{"a": "b"}"#, r#"{"a": 1}"#),
            (Kind::Mapping, "a: {b: 1}", "- a"),
            (Kind::Crontab, r#"["0 1 * * * true", "A=b", "@reboot x"]"#, r#"["0 1 * * *"]"#),
            (Kind::Hosts, "h1:2379,h2:2379", "[h1"),
            (Kind::Time, "2026-12-01 12:00:00+01", "2026-12-01 12:00:00"),
            (Kind::Time, "2026-12-01T12:00:00Z", "yesterday"),
            (Kind::Timeline, "3", "0"),
            (Kind::Ip, "::1", "localhost"),
            (Kind::Path, "/a b", "a"),
        ] {
            assert_eq!(kind.refuse(good), None, "{kind:?} {good}");
            assert!(kind.refuse(bad).is_some(), "{kind:?} {bad}");
        }
    }
}
