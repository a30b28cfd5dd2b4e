//! Points of time as people and tools write them, in requests and schedules, and as Python prints them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};

/// Date and time of day, and the offset from UTC when one was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    civil: DateTime,
    offset: Option<Offset>,
}

impl Moment {
    /// ISO 8601 and what is nearly it (`2026/11/22`, a blank before the offset, `UTC` and `GMT` for it, an offset of
    /// one digit), RFC 2822, and a time of day alone, which is `today`'s. `None` when it is nothing of these.
    pub fn read(text: &str, today: Date) -> Option<Moment> {
        let text = text.trim();
        iso(text).or_else(|| nearly_iso(text)).or_else(|| rfc2822(text)).or_else(|| time_of(today, text))
    }

    /// Without an offset nobody can place it.
    pub fn offset(&self) -> Option<Offset> {
        self.offset
    }

    /// With the offset that `zone` has then, unless it has its own.
    pub fn localized(self, zone: &TimeZone) -> Moment {
        let local = || zone.to_ambiguous_zoned_datetime(self.civil).compatible().ok().map(|zoned| zoned.offset());
        Moment { offset: self.offset.or_else(local), ..self }
    }

    pub fn timestamp(&self) -> Option<Timestamp> {
        self.offset?.to_timestamp(self.civil).ok()
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
}

fn offset_text(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn iso(text: &str) -> Option<Moment> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    Some(Moment { civil, offset: pieces.to_numeric_offset() })
}

fn nearly_iso(text: &str) -> Option<Moment> {
    let (date, rest) = text.split_once([' ', 'T'])?;
    let rest = rest.trim_start();
    let (time, zone) = match rest.find([' ', '+', '-', 'Z', 'z']) {
        Some(at) => (&rest[..at], rest[at..].trim()),
        None => (rest, ""),
    };
    let zone = match zone {
        "UTC" | "GMT" | "utc" | "gmt" | "z" | "Z" => "Z".to_owned(),
        short if short.len() == 2 && short.is_ascii() => format!("{}0{}", &short[..1], &short[1..]),
        other => other.to_owned(),
    };
    iso(&format!("{}T{time}{zone}", date.replace('/', "-")))
}

/// `Sun, 22 Nov 2026 23:00:00 GMT`, also with the zones' names that mail knows.
fn rfc2822(text: &str) -> Option<Moment> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Moment { civil: zoned.datetime(), offset: Some(zoned.offset()) })
}

fn time_of(today: Date, text: &str) -> Option<Moment> {
    text.contains(':').then(|| nearly_iso(&format!("{today} {text}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_patroni_reads_is_read_and_printed_as_python_does() {
        let today = jiff::civil::date(2026, 11, 22);
        for (text, published) in [
            ("2026-11-22T23:00:00+00:00", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22 23:00:00+02", "2026-11-22T23:00:00+02:00"),
            ("2026-11-22T04:32:31-3", "2026-11-22T04:32:31-03:00"),
            ("2026-11-22T23:00Z", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22T23:00:00.123+00:00", "2026-11-22T23:00:00.123000+00:00"),
            ("20261122T230000Z", "2026-11-22T23:00:00+00:00"),
            ("2026/11/22 22:00 +0100", "2026-11-22T22:00:00+01:00"),
            ("2026-11-22 23:00 UTC", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22T18:30:00-05:30", "2026-11-22T18:30:00-05:30"),
            ("2026-11-22 23:00", "2026-11-22T23:00:00"),
            ("2026-11-22", "2026-11-22T00:00:00"),
            ("Sun, 22 Nov 2026 23:00:00 GMT", "2026-11-22T23:00:00+00:00"),
            ("23:00+00", "2026-11-22T23:00:00+00:00"),
            ("23:15", "2026-11-22T23:15:00"),
        ] {
            let at = Moment::read(text, today).expect(text);
            assert_eq!(at.isoformat(), published, "{text}");
            assert_eq!(at.spaced(), published.replace('T', " "), "{text}");
        }
        for text in ["tomorrow", "12", "", "25:00"] {
            assert_eq!(Moment::read(text, today), None, "{text}");
        }
    }
}
