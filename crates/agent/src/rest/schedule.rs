//! `scheduled_at` and `schedule`: points of time as people and tools write them.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use jogi_core::Wall;
use jogi_core::ha::When;
use serde_json::Value;

use super::answer::Answer;

/// Parses and judges. `action` is the word in the refusal.
pub(super) fn parse(value: &Value, action: &str, now: Wall) -> Result<When, Answer> {
    match value.as_str().and_then(|text| read(text.trim(), now)) {
        None => Err(Answer::text(
            422,
            "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
        )),
        Some((_, None)) => {
            Err(Answer::text(400, format!("Timezone information is mandatory for the scheduled {action}")))
        }
        Some((civil, Some(offset))) => when(civil, offset, action, now),
    }
}

fn when(civil: DateTime, offset: Offset, action: &str, now: Wall) -> Result<When, Answer> {
    let past = || Answer::text(422, format!("Cannot schedule {action} in the past"));
    let at = Wall(offset.to_timestamp(civil).map_err(|_| past())?.as_microsecond());
    if at < now {
        return Err(past());
    }
    Ok(When { text: isoformat(civil, offset), at })
}

/// Date and time with the offset, when there is one.
fn read(text: &str, now: Wall) -> Option<(DateTime, Option<Offset>)> {
    iso(text).or_else(|| iso_apart(text)).or_else(|| rfc2822(text)).or_else(|| time_of_today(text, now))
}

fn iso(text: &str) -> Option<(DateTime, Option<Offset>)> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    Some((civil, pieces.to_numeric_offset()))
}

/// The forms that are nearly ISO: `2026/11/22`, a blank before the offset, `UTC` and `GMT` for it.
fn iso_apart(text: &str) -> Option<(DateTime, Option<Offset>)> {
    let (date, rest) = text.split_once([' ', 'T'])?;
    let rest = rest.trim_start();
    let (time, zone) = match rest.find([' ', '+', '-', 'Z', 'z']) {
        Some(at) => (&rest[..at], rest[at..].trim()),
        None => (rest, ""),
    };
    let zone = if matches!(zone, "UTC" | "GMT" | "utc" | "z" | "Z") { "Z" } else { zone };
    iso(&format!("{}T{time}{zone}", date.replace('/', "-")))
}

/// `Sun, 22 Nov 2026 23:00:00 GMT`, also with the zones' names that mail knows.
fn rfc2822(text: &str) -> Option<(DateTime, Option<Offset>)> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some((zoned.datetime(), Some(zoned.offset())))
}

/// A time of day alone is today's.
fn time_of_today(text: &str, now: Wall) -> Option<(DateTime, Option<Offset>)> {
    let today = TimeZone::system().to_datetime(Timestamp::from_microsecond(now.0).ok()?).date();
    iso_apart(&format!("{today} {text}"))
}

/// Python's `datetime.isoformat()`.
fn isoformat(civil: DateTime, offset: Offset) -> String {
    let (date, time) = (civil.date(), civil.time());
    let micros = time.subsec_nanosecond() / 1000;
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    let seconds = offset.seconds();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!(
        "{date}T{:02}:{:02}:{:02}{fraction}{sign}{:02}:{:02}",
        time.hour(),
        time.minute(),
        time.second(),
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-22 12:00:00 UTC.
    const NOW: Wall = Wall(1_795_348_800_000_000);

    #[test]
    fn what_patroni_understands_is_understood() {
        for (text, published) in [
            ("2026-11-22T23:00:00+00:00", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22 23:00:00+02", "2026-11-22T23:00:00+02:00"),
            ("2026-11-22T23:00Z", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22T23:00:00.123+00:00", "2026-11-22T23:00:00.123000+00:00"),
            ("20261122T230000Z", "2026-11-22T23:00:00+00:00"),
            ("2026/11/22 22:00 +0100", "2026-11-22T22:00:00+01:00"),
            ("2026-11-22 23:00 UTC", "2026-11-22T23:00:00+00:00"),
            ("2026-11-22T18:30:00-05:30", "2026-11-22T18:30:00-05:30"),
            ("Sun, 22 Nov 2026 23:00:00 GMT", "2026-11-22T23:00:00+00:00"),
            ("23:00+00", "2026-11-22T23:00:00+00:00"),
        ] {
            let when = parse(&json!(text), "switchover", NOW).expect(text);
            assert_eq!(when.text, published, "{text}");
            assert!(when.at > NOW, "{text}");
        }
    }

    #[test]
    fn refusals_are_patronis() {
        for (value, status, text) in [
            (json!("2026-11-22T23:00:00"), 400, "Timezone information is mandatory for the scheduled restart"),
            (json!("2026-11-22"), 400, "Timezone information is mandatory for the scheduled restart"),
            (json!("2026-11-22T11:59:59Z"), 422, "Cannot schedule restart in the past"),
            (
                json!("tomorrow"),
                422,
                "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
            ),
            (
                json!(12),
                422,
                "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
            ),
        ] {
            assert_eq!(parse(&value, "restart", NOW), Err(Answer::text(status, text)), "{value}");
        }
    }
}
