//! Times as people give them and as patronictl prints them.

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use jogi_config::Moment;

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

/// A time with or without an offset. `None` when it is none.
pub fn read(text: &str) -> Option<Moment> {
    Moment::read(text, ZonedDateTime::now().date())
}

/// What `--scheduled` or a prompt gave: nothing and `now` are now; local when it was given without an offset.
pub fn scheduled(text: Option<&str>) -> Result<Option<Moment>, Failure> {
    match text {
        None | Some("" | "now") => Ok(None),
        Some(text) => match read(text) {
            Some(at) => Ok(Some(at.localized(&TimeZone::system()))),
            None => Err(Failure::said(format!(
                "Unable to parse scheduled timestamp ({text}). It should be in an unambiguous format (e.g. ISO 8601)"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_no_schedule_and_nonsense_is_refused() {
        for text in [None, Some(""), Some("now")] {
            assert_eq!(scheduled(text).expect("now"), None, "{text:?}");
        }
        let local = scheduled(Some("2026-11-22 23:00")).expect("a time").expect("a time");
        assert!(local.offset().is_some(), "without an offset it is local time");
        let error = scheduled(Some("soon")).expect_err("nonsense").to_string();
        assert!(error.starts_with("Unable to parse scheduled timestamp (soon)."), "{error}");
    }
}
