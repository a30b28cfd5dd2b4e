//! `scheduled_at` and `schedule`: points of time, judged.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use jogi_config::Moment;
use jogi_core::Wall;
use jogi_core::ha::When;
use serde_json::Value;

use super::answer::Answer;

/// Parses and judges. `action` is the word in the refusal.
pub(super) fn parse(value: &Value, action: &str, now: Wall) -> Result<When, Answer> {
    let Some(moment) = value.as_str().and_then(|text| read(text, now)) else {
        return Err(Answer::text(
            422,
            "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
        ));
    };
    if moment.offset().is_none() {
        return Err(Answer::text(400, format!("Timezone information is mandatory for the scheduled {action}")));
    }
    match moment.timestamp().map(|at| Wall(at.as_microsecond())).filter(|at| *at >= now) {
        Some(at) => Ok(When { text: moment.isoformat(), at }),
        None => Err(Answer::text(422, format!("Cannot schedule {action} in the past"))),
    }
}

fn read(text: &str, now: Wall) -> Option<Moment> {
    let today = TimeZone::system().to_datetime(Timestamp::from_microsecond(now.0).ok()?).date();
    Moment::read(text, today)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-22 12:00:00 UTC.
    const NOW: Wall = Wall(1_795_348_800_000_000);

    #[test]
    fn a_time_to_come_is_published_as_python_prints_it() {
        for (text, published) in [
            ("2026-11-22 23:00:00+02", "2026-11-22T23:00:00+02:00"),
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
        let unreadable = "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601";
        for (value, status, text) in [
            (json!("2026-11-22T23:00:00"), 400, "Timezone information is mandatory for the scheduled restart"),
            (json!("2026-11-22"), 400, "Timezone information is mandatory for the scheduled restart"),
            (json!("2026-11-22T11:59:59Z"), 422, "Cannot schedule restart in the past"),
            (json!("tomorrow"), 422, unreadable),
            (json!(12), 422, unreadable),
        ] {
            assert_eq!(parse(&value, "restart", NOW), Err(Answer::text(status, text)), "{value}");
        }
    }
}
