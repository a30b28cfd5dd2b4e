//! Times as people give them and as patronictl prints them.

use jiff::ZonedDateTime;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};

use crate::failure::Failure;

/// Local time to the second: `2026-11-24 14:52:18`.
pub fn stamp() -> String {
    ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Local time with five digits behind the second, as patronictl cuts it.
pub fn fine_stamp() -> String {
    let now = ZonedDateTime::now();
    format!("{}.{:05}", now.strftime("%Y-%m-%d %H:%M:%S"), now.subsec_nanosecond() / 10_000)
}

/// An hour from now, as prompts give it for an example.
pub fn next_hour() -> String {
    ZonedDateTime::now().saturating_add(jiff::SignedDuration::from_hours(1)).strftime("%Y-%m-%dT%H:%M").to_string()
}

/// A point of time; local when it was given without an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    civil: DateTime,
    offset: Option<Offset>,
}

impl Scheduled {
    /// A time with or without an offset. `None` when it is none.
    pub fn read(text: &str) -> Option<Scheduled> {
        let text = text.trim();
        iso(text).or_else(|| nearly_iso(text)).or_else(|| rfc2822(text)).or_else(|| today(text))
    }

    /// Python's `datetime.isoformat()`.
    pub fn isoformat(&self) -> String {
        self.text('T')
    }

    /// Python's `str(datetime)`.
    pub fn spaced(&self) -> String {
        self.text(' ')
    }

    fn text(&self, between: char) -> String {
        let (date, time) = (self.civil.date(), self.civil.time());
        let micros = time.subsec_nanosecond() / 1000;
        let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let offset = self.offset.map(offset_text).unwrap_or_default();
        format!("{date}{between}{hour:02}:{minute:02}:{second:02}{fraction}{offset}")
    }

    fn localized(self) -> Scheduled {
        let local =
            || TimeZone::system().to_ambiguous_zoned_datetime(self.civil).compatible().ok().map(|zoned| zoned.offset());
        Scheduled { offset: self.offset.or_else(local), ..self }
    }
}

/// What `--scheduled` or a prompt gave: nothing and `now` are now.
pub fn scheduled(text: Option<&str>) -> Result<Option<Scheduled>, Failure> {
    match text {
        None | Some("" | "now") => Ok(None),
        Some(text) => match Scheduled::read(text) {
            Some(at) => Ok(Some(at.localized())),
            None => Err(Failure::said(format!(
                "Unable to parse scheduled timestamp ({text}). It should be in an unambiguous format (e.g. ISO 8601)"
            ))),
        },
    }
}

fn offset_text(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn iso(text: &str) -> Option<Scheduled> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    Some(Scheduled { civil, offset: pieces.to_numeric_offset() })
}

/// `2026/11/22`, a blank before the offset, `UTC` and `GMT` for it, an offset of one digit.
fn nearly_iso(text: &str) -> Option<Scheduled> {
    let (date, rest) = text.split_once([' ', 'T'])?;
    let rest = rest.trim_start();
    let (time, zone) = match rest.find([' ', '+', '-', 'Z', 'z']) {
        Some(at) => (&rest[..at], rest[at..].trim()),
        None => (rest, ""),
    };
    let zone = match zone {
        "UTC" | "GMT" | "utc" | "gmt" | "z" | "Z" => "Z".to_owned(),
        short if short.len() == 2 => format!("{}0{}", &short[..1], &short[1..]),
        other => other.to_owned(),
    };
    iso(&format!("{}T{time}{zone}", date.replace('/', "-")))
}

fn rfc2822(text: &str) -> Option<Scheduled> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Scheduled { civil: zoned.datetime(), offset: Some(zoned.offset()) })
}

/// A time of day alone is today's.
fn today(text: &str) -> Option<Scheduled> {
    text.contains(':').then(|| nearly_iso(&format!("{} {text}", ZonedDateTime::now().date())))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_patronictl_reads_is_read() {
        for (text, published) in [
            ("2026-11-22T23:00:00+00:00", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22 23:00:00+02", "2026-11-22T23:00:00+02:00"),
            ("2026-11-22T04:32:31-3", "2026-11-22T04:32:31-03:00"),
            ("2026-11-22T23:00Z", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22T23:00:00.123+00:00", "2026-11-22T23:00:00.123000+00:00"),
            ("2026/11/22 22:00 +0100", "2026-11-22T22:00:00+01:00"),
            ("2026-11-22 23:00 UTC", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22 23:00", "2026-11-22T23:00:00"),
            ("Sun, 22 Nov 2026 23:00:00 GMT", "2026-11-22T23:00:00+00:00"),
        ] {
            let at = Scheduled::read(text).expect(text);
            assert_eq!(at.isoformat(), published, "{text}");
            assert_eq!(at.spaced(), published.replace('T', " "), "{text}");
        }
        assert!(Scheduled::read("23:15").is_some_and(|at| at.isoformat().contains("T23:15:00")));
    }

    #[test]
    fn now_is_no_schedule_and_nonsense_is_refused() {
        for text in [None, Some(""), Some("now")] {
            assert_eq!(scheduled(text).expect("now"), None, "{text:?}");
        }
        let local = scheduled(Some("2026-11-22 23:00")).expect("a time").expect("a time");
        assert!(local.offset.is_some(), "without an offset it is local time");
        let error = scheduled(Some("soon")).expect_err("nonsense").to_string();
        assert!(error.starts_with("Unable to parse scheduled timestamp (soon)."), "{error}");
    }
}
