//! Points of time as people write them in requests: ISO 8601 with an offset; and as Patroni prints them.

use crate::Wall;

/// Reads `YYYY-MM-DD[T ]HH:MM[:SS[.ffffff]](Z|±HH[:MM])`. `None` without an offset: a time nobody can place
/// is never acted on.
pub fn parse(text: &str) -> Option<Wall> {
    let text = text.trim();
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let offset = offset_seconds(zone)?;
    let mut parts = clock.trim().splitn(3, ':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, micros) = match parts.next() {
        None => (0, 0),
        Some(text) => seconds(text)?,
    };
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !valid {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let total = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Wall(total * 1_000_000 + micros))
}

/// `str(datetime)` in UTC: `2026-11-22 22:03:10.831115+00:00`, without the fraction when it is zero.
pub fn print(wall: Wall) -> String {
    let (days, second) = (wall.seconds().div_euclid(86_400), wall.seconds().rem_euclid(86_400));
    let (year, month, day) = date(days);
    let fraction = match wall.0.rem_euclid(1_000_000) {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}+00:00")
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn seconds(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let micros = format!("{fraction:0<6}");
    Some((number(whole)?, number(micros.get(..6)?)?))
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(&digits[..2])?, number(&digits[2..])?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (the well-known civil-from-days inverse).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let of_era_days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + of_era_days - 719_468
}

/// Year, month and day of a number of days from 1970-01-01: the inverse of [`days_since_epoch`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * month_from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_python_prints_them() {
        assert_eq!(print(Wall(1_795_384_990_831_115)), "2026-11-22 22:03:10.831115+00:00");
        assert_eq!(print(Wall(951_782_400_000_000)), "2000-02-29 00:00:00+00:00");
        for day in (-800_000..800_000).step_by(61) {
            let wall = Wall(day * 86_400_000_000 + 86_399_999_999);
            let printed = print(wall);
            if (0..=9999).contains(&date(day).0) {
                assert_eq!(parse(&printed), Some(wall), "{printed}");
            }
        }
    }

    #[test]
    fn times_with_an_offset_are_placed_and_others_refused() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00+00:00", Some(0)),
            ("2026-11-22T23:00:00+00:00", Some(1_795_388_400)),
            ("2026-11-23 01:00+0200", Some(1_795_388_400)),
            ("2026-11-22T22:30:00.25-00:30", Some(1_795_388_400)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2026-11-22T23:00:00", None),
            ("2026-02-30T23:00:00Z", None),
            ("tomorrow", None),
        ] {
            assert_eq!(parse(text).map(Wall::seconds), seconds, "{text}");
        }
    }
}
