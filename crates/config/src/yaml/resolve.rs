//! The plain scalars of YAML 1.1, as PyYAML resolves them.
//!
//! Its regular expressions, not the YAML specification, are the reference: `1e3` and `1.5e3` are texts,
//! `1.5e+3` is a number, `0777` is octal, `08` a text, `1:30` is 90.

use serde_json::{Number, Value};

use crate::python::float_text;

/// What a plain scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Float,
    Int,
    Merge,
    Null,
    Timestamp,
    /// `=`, which no safe loader accepts outside of keys.
    Value,
    Text,
}

pub(super) fn kind(plain: &str) -> Kind {
    match plain {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "<<" => return Kind::Merge,
        "=" => return Kind::Value,
        word if boolean(word).is_some() => return Kind::Bool,
        _ => {}
    }
    if !plain.starts_with(['-', '+', '.']) && !plain.starts_with(|c: char| c.is_ascii_digit()) {
        Kind::Text
    } else if is_float(plain) {
        Kind::Float
    } else if is_int(plain) {
        Kind::Int
    } else if is_timestamp(plain) {
        Kind::Timestamp
    } else {
        Kind::Text
    }
}

/// The value of a plain scalar, or why it has none.
pub(super) fn value(plain: &str) -> Result<Value, String> {
    match kind(plain) {
        Kind::Null => Ok(Value::Null),
        Kind::Bool => Ok(Value::Bool(boolean(plain).unwrap_or(false))),
        Kind::Float => float(plain),
        Kind::Int => int(plain),
        Kind::Timestamp => timestamp(plain).map(Value::String),
        Kind::Merge => Err("'<<' merges mappings and can only be a key; quote it to mean the text".into()),
        Kind::Value => Err("'=' has a meaning of its own in YAML 1.1; quote it to mean the text".into()),
        Kind::Text => Ok(Value::String(plain.to_owned())),
    }
}

/// The words of YAML 1.1: lower case, capitalised or upper case, nothing between.
fn boolean(word: &str) -> Option<bool> {
    match word {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A boolean with an explicit tag: any case.
pub(super) fn tagged_boolean(word: &str) -> Result<Value, String> {
    boolean(&word.to_lowercase()).map(Value::Bool).ok_or_else(|| format!("'{word}' is no boolean"))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn is_digits(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '_' || allowed(c))
}

/// `[0-9][0-9_]*`
fn is_number_run(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && is_digits(text, |c| c.is_ascii_digit())
}

/// `(:[0-5]?[0-9])+`, given without the first colon.
fn is_sexagesimal_tail(tail: &str) -> bool {
    tail.split(':').all(|part| match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    })
}

fn is_int(text: &str) -> bool {
    let body = unsigned(text);
    if let Some(binary) = body.strip_prefix("0b") {
        return is_digits(binary, |c| matches!(c, '0' | '1'));
    }
    if let Some(hex) = body.strip_prefix("0x") {
        return is_digits(hex, |c| c.is_ascii_hexdigit());
    }
    if let Some(octal) = body.strip_prefix('0') {
        return octal.is_empty() || is_digits(octal, |c| ('0'..='7').contains(&c));
    }
    match body.split_once(':') {
        Some((first, tail)) => is_number_run(first) && is_sexagesimal_tail(tail),
        None => is_number_run(body),
    }
}

fn is_float(text: &str) -> bool {
    let body = unsigned(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    if let Some((first, tail)) = body.split_once(':') {
        return tail.split_once('.').is_some_and(|(minutes, fraction)| {
            is_number_run(first)
                && is_sexagesimal_tail(minutes)
                && (fraction.is_empty() || is_digits(fraction, |c| c.is_ascii_digit()))
        });
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        e.strip_prefix(['-', '+']).is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_digit()))
    });
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => body == text && is_number_run(fraction),
        Some((whole, fraction)) => {
            is_number_run(whole) && (fraction.is_empty() || is_digits(fraction, |c| c.is_ascii_digit()))
        }
        None => false,
    };
    exponent_fits && mantissa_fits
}

/// An integer. What fits no 64 bits stays its decimal digits, as text.
pub(super) fn int(text: &str) -> Result<Value, String> {
    let clean = text.replace('_', "");
    let body = unsigned(&clean);
    let no_number = || format!("'{text}' reads as a number but has no valid digits; quote it to mean the text");
    let radix = |digits: &str, radix| i128::from_str_radix(digits, radix).map_err(|_| no_number());
    let magnitude = if let Some(binary) = body.strip_prefix("0b") {
        radix(binary, 2)?
    } else if let Some(hex) = body.strip_prefix("0x") {
        radix(hex, 16)?
    } else if body.len() > 1 && body.starts_with('0') {
        radix(body, 8)?
    } else if body.contains(':') {
        sexagesimal(body).ok_or_else(no_number)?
    } else if !body.is_empty() && body.bytes().all(|b| b.is_ascii_digit()) {
        match body.parse::<i128>() {
            Ok(number) => number,
            Err(_) => return Ok(Value::String(clean.trim_start_matches('+').to_owned())),
        }
    } else {
        return Err(no_number());
    };
    Ok(integer_value(if clean.starts_with('-') { -magnitude } else { magnitude }))
}

fn sexagesimal(body: &str) -> Option<i128> {
    body.split(':').try_fold(0i128, |total, part| total.checked_mul(60)?.checked_add(part.parse::<i128>().ok()?))
}

fn integer_value(number: i128) -> Value {
    if let Ok(small) = i64::try_from(number) {
        Value::from(small)
    } else if let Ok(large) = u64::try_from(number) {
        Value::from(large)
    } else {
        Value::String(number.to_string())
    }
}

/// A float. Infinity and NaN, which JSON lacks, are the texts that Python prints for them.
pub(super) fn float(text: &str) -> Result<Value, String> {
    let clean = text.replace('_', "").to_lowercase();
    let body = unsigned(&clean);
    let magnitude = match body {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => body
            .split(':')
            .try_fold(0.0, |total: f64, part| part.parse::<f64>().ok().map(|part| total * 60.0 + part))
            .ok_or_else(|| format!("'{text}' is no number"))?,
    };
    let number = if clean.starts_with('-') { -magnitude } else { magnitude };
    Ok(Number::from_f64(number).map_or_else(|| Value::String(float_text(number)), Value::Number))
}

/// A date or a time taken apart; `None` when the text is none.
struct Stamp<'a> {
    date: [&'a str; 3],
    time: Option<[&'a str; 3]>,
    fraction: &'a str,
    /// Empty, `Z`, or a sign with hours and minutes.
    zone: &'a str,
}

fn digits_between(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_timestamp(text: &str) -> bool {
    take_apart(text).is_some_and(|stamp| match stamp.time {
        None => stamp.date[1].len() == 2 && stamp.date[2].len() == 2,
        Some(_) => true,
    })
}

fn take_apart(text: &str) -> Option<Stamp<'_>> {
    let split = text.find(['T', 't', ' ', '\t']).unwrap_or(text.len());
    let (date, rest) = text.split_at(split);
    let mut parts = date.split('-');
    let date = [parts.next()?, parts.next()?, parts.next()?];
    let is_date = digits_between(date[0], 4, 4) && digits_between(date[1], 1, 2) && digits_between(date[2], 1, 2);
    if !is_date || parts.next().is_some() {
        return None;
    }
    if rest.is_empty() {
        return Some(Stamp { date, time: None, fraction: "", zone: "" });
    }
    let rest = match rest.strip_prefix(['T', 't']) {
        Some(clock) => clock,
        None => rest.trim_start_matches([' ', '\t']),
    };
    let clock_end = rest.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(rest.len());
    let (clock, rest) = rest.split_at(clock_end);
    let mut parts = clock.split(':');
    let time = [parts.next()?, parts.next()?, parts.next()?];
    let is_time = digits_between(time[0], 1, 2) && digits_between(time[1], 2, 2) && digits_between(time[2], 2, 2);
    if !is_time || parts.next().is_some() {
        return None;
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let zone = rest.trim_start_matches([' ', '\t']);
    (is_zone(zone) && (!zone.is_empty() || rest.is_empty())).then_some(Stamp { date, time: Some(time), fraction, zone })
}

fn is_zone(zone: &str) -> bool {
    if zone.is_empty() || zone == "Z" {
        return true;
    }
    let Some(offset) = zone.strip_prefix(['-', '+']) else { return false };
    match offset.split_once(':') {
        Some((hours, minutes)) => digits_between(hours, 1, 2) && digits_between(minutes, 2, 2),
        None => digits_between(offset, 1, 2),
    }
}

/// A date or time as text in ISO form, the way Python prints its `date` and `datetime`.
pub(super) fn timestamp(text: &str) -> Result<String, String> {
    let wrong = |what: &str| format!("'{text}' reads as a date but {what}; quote it to mean the text");
    let stamp = take_apart(text).ok_or_else(|| wrong("is none"))?;
    let number = |digits: &str| digits.parse::<u32>().unwrap_or(u32::MAX);
    let [year, month, day] = stamp.date.map(number);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return Err(wrong("the calendar has no such day"));
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some(time) = stamp.time else { return Ok(date) };
    let [hour, minute, second] = time.map(number);
    if hour > 23 || minute > 59 || second > 59 {
        return Err(wrong("the day has no such time"));
    }
    let micros = format!("{:0<6}", stamp.fraction.chars().take(6).collect::<String>());
    let fraction = if micros == "000000" { String::new() } else { format!(".{micros}") };
    let zone = zone_text(stamp.zone).ok_or_else(|| wrong("its time zone is a day or more away"))?;
    Ok(format!("{date} {hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
}

fn zone_text(zone: &str) -> Option<String> {
    match zone {
        "" => return Some(String::new()),
        "Z" => return Some("+00:00".into()),
        _ => {}
    }
    let (hours, minutes) = unsigned(zone).split_once(':').unwrap_or((unsigned(zone), "0"));
    let minutes = hours.parse::<u32>().ok()? * 60 + minutes.parse::<u32>().ok()?;
    let sign = if zone.starts_with('-') && minutes > 0 { '-' } else { '+' };
    (minutes < 24 * 60).then(|| format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        for (plain, expected) in [
            ("on", json!(true)),
            ("Off", json!(false)),
            ("oN", json!("oN")),
            ("y", json!("y")),
            ("0777", json!(511)),
            ("08", json!("08")),
            ("0o17", json!("0o17")),
            ("1_000", json!(1000)),
            ("-0x1F", json!(-31)),
            ("0b101", json!(5)),
            ("1:30", json!(90)),
            ("190:20:30", json!(685230)),
            ("1:60", json!("1:60")),
            ("190:20:30.15", json!(685230.15)),
            ("1e3", json!("1e3")),
            ("1.5e3", json!("1.5e3")),
            ("1.5e+3", json!(1500.0)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-.5", json!("-.5")),
            ("-.inf", json!("-inf")),
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!("18446744073709551616")),
            ("2001-12-14", json!("2001-12-14")),
            ("2001-1-4", json!("2001-1-4")),
            ("2001-12-14t21:59:43.10-05:00", json!("2001-12-14 21:59:43.100000-05:00")),
            ("2001-12-15 2:59:43.1 Z", json!("2001-12-15 02:59:43.100000+00:00")),
            ("2001-12-15 2:59:43 ", json!("2001-12-15 2:59:43 ")),
            ("10.0.0.1:5432", json!("10.0.0.1:5432")),
        ] {
            assert_eq!(value(plain), Ok(expected), "{plain}");
        }
    }

    #[test]
    fn what_reads_as_something_it_cannot_be_is_refused() {
        for plain in ["2001-13-01", "2001-02-29", "0b_", "<<", "=", "2001-01-01 25:00:00"] {
            assert!(value(plain).is_err(), "{plain}");
        }
    }
}
