//! Numbers with PostgreSQL's units.
//!
//! The rounding is that of Patroni's own parser (which follows PostgreSQL's `guc.c`): a value with a unit
//! is first rounded to the next smaller unit, then to the base unit, halves to even. `pending_restart`
//! shows wrongly when it is done otherwise.

use serde_json::Value;

use crate::python;

/// Units from the largest to the smallest, in the smallest base (bytes, microseconds).
const MEMORY: [(&str, f64); 5] =
    [("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1024.0), ("B", 1.0)];
const TIME: [(&str, f64); 6] = [("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("us", 1.0)];

/// A base unit: how many of which unit.
struct Base {
    count: i64,
    table: &'static [(&'static str, f64)],
    size: f64,
}

impl Base {
    /// `kB`, `8kB`, `min`. Only units that PostgreSQL uses as base units.
    fn parse(text: &str) -> Option<Base> {
        let (count, unit) = integer_prefix(text.trim());
        let table: &'static [(&'static str, f64)] = match unit {
            "B" | "kB" | "MB" => &MEMORY,
            "ms" | "s" | "min" => &TIME,
            _ => return None,
        };
        let size = table.iter().find(|(name, _)| *name == unit)?.1;
        Some(Base { count: count.unwrap_or(1), table, size })
    }

    /// How many base units one of this row's unit is, `count` left aside.
    fn factor(&self, row: usize) -> f64 {
        self.table.get(row).map_or(1.0, |(_, size)| size / self.size)
    }

    fn convert(&self, number: f64, unit: &str) -> Option<f64> {
        let row = self.table.iter().position(|(name, _)| *name == unit)?;
        let value = number * (self.factor(row) / self.count as f64);
        if row + 1 == self.table.len() {
            return Some(value);
        }
        let smaller = self.factor(row + 1);
        Some((value / smaller).round_ties_even() * smaller)
    }
}

fn sign_length(text: &str) -> usize {
    usize::from(text.starts_with(['-', '+']))
}

/// The length of a run of characters from `start` on.
fn run(text: &str, start: usize, accept: impl Fn(char) -> bool) -> usize {
    text[start..].find(|c: char| !accept(c)).unwrap_or(text.len() - start)
}

/// The integer at the beginning (`0x…` hexadecimal, `0…` octal) and the rest.
fn integer_prefix(text: &str) -> (Option<i64>, &str) {
    let sign = sign_length(text);
    let body = &text[sign..];
    let (radix, from, length) = if body.starts_with("0x") && run(body, 2, |c| c.is_ascii_hexdigit()) > 0 {
        (16, 2, run(body, 2, |c| c.is_ascii_hexdigit()))
    } else if body.starts_with('0') {
        (8, 0, run(body, 0, |c| ('0'..='7').contains(&c)))
    } else {
        (10, 0, run(body, 0, |c| c.is_ascii_digit()))
    };
    if length == 0 {
        return (None, text);
    }
    let rest = &body[from + length..];
    match i64::from_str_radix(&body[from..from + length], radix) {
        Ok(number) => (Some(if text.starts_with('-') { -number } else { number }), rest),
        Err(_) => (None, text),
    }
}

/// The real at the beginning (`1.5`, `.5`, `8e-10`; not `5.`) and the rest.
fn real_prefix(text: &str) -> (Option<f64>, &str) {
    let sign = sign_length(text);
    let digits = |from| run(text, from, |c| c.is_ascii_digit());
    let whole = digits(sign);
    let mut end = sign + whole;
    if text[end..].starts_with('.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    } else if whole == 0 {
        return (None, text);
    }
    if text[end..].starts_with(['e', 'E']) {
        let exponent = end + 1 + sign_length(&text[end + 1..]);
        let length = digits(exponent);
        if length > 0 {
            end = exponent + length;
        }
    }
    (text[..end].parse().ok(), &text[end..])
}

/// An integer in the base unit (`kB`, `8kB`, `16MB`, `ms`, `s`, `min`; none: no unit may be given).
/// Decimal, octal and hexadecimal; reals are rounded half to even. `None` when it is no such number.
pub fn parse_int(value: &Value, base_unit: Option<&str>) -> Option<i64> {
    parse_int_text(&python::str(value), base_unit)
}

/// [`parse_int`] of a text.
pub fn parse_int_text(text: &str, base_unit: Option<&str>) -> Option<i64> {
    let text = text.trim();
    let (integer, mut unit) = integer_prefix(text);
    let mut number = integer.map(|i| i as f64);
    let exact = integer;
    let is_real = unit.starts_with('.') || (integer.is_some() && unit.starts_with(['e', 'E']));
    if is_real {
        (number, unit) = real_prefix(text);
    }
    let number = number?;
    let unit = unit.trim();
    if unit.is_empty() {
        return if is_real { to_int(number) } else { exact };
    }
    to_int(Base::parse(base_unit?)?.convert(number, unit)?)
}

fn to_int(number: f64) -> Option<i64> {
    let rounded = number.round_ties_even();
    (rounded.abs() < 9.2e18).then_some(rounded as i64)
}

/// A real in the base unit.
pub fn parse_real(value: &Value, base_unit: Option<&str>) -> Option<f64> {
    parse_real_text(&python::str(value), base_unit)
}

/// [`parse_real`] of a text.
pub fn parse_real_text(text: &str, base_unit: Option<&str>) -> Option<f64> {
    let (number, unit) = real_prefix(text.trim());
    match unit.trim() {
        "" => number,
        unit => Base::parse(base_unit?)?.convert(number?, unit),
    }
}

/// `on`, `true`, `yes`, `1` and their opposites, in any case.
pub fn parse_bool(value: &Value) -> Option<bool> {
    parse_bool_text(&python::str(value))
}

/// [`parse_bool`] of a text.
pub fn parse_bool_text(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A value of pg_settings in its base unit as people write it: `1024` in `kB` is `1MB`.
pub fn humanize(setting: &str, vartype: &str, unit: Option<&str>) -> String {
    let converted = unit.and_then(Base::parse).and_then(|base| match vartype {
        "integer" => parse_int_text(setting, None).filter(|i| *i != 0).and_then(|i| humanize_int(i, &base)),
        "real" => parse_real_text(setting, None).filter(|r| *r != 0.0).map(|r| humanize_real(r, &base)),
        _ => None,
    });
    converted.unwrap_or_else(|| setting.to_owned())
}

/// The largest unit that divides the value.
fn humanize_int(value: i64, base: &Base) -> Option<String> {
    let value = value.checked_mul(base.count)?;
    base.table.iter().enumerate().find_map(|(row, (name, _))| {
        let factor = base.factor(row);
        let fits = factor <= 1.0 || value % factor as i64 == 0;
        fits.then(|| format!("{}{name}", (value as f64 / factor).round_ties_even()))
    })
}

/// The largest unit in which the value is whole, or the smallest one.
fn humanize_real(value: f64, base: &Base) -> String {
    let value = value * base.count as f64;
    let mut text = String::new();
    for (row, (name, _)) in base.table.iter().enumerate() {
        let here = value / base.factor(row);
        text = format!("{}{name}", general(here));
        if here > 0.0 && (here.round_ties_even() / here - 1.0).abs() <= 1e-8 {
            break;
        }
    }
    text
}

/// C's `%g`: six significant digits, no trailing zeros.
fn general(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trim(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_postgresql_reads_them() {
        for (text, base, expected) in [
            ("1", None, Some(1)),
            (" 0x400 MB ", Some("16384kB"), Some(64)),
            ("1MB", Some("kB"), Some(1024)),
            ("1000 ms", Some("s"), Some(1)),
            ("1TB", Some("GB"), None),
            ("nonsense", Some("kB"), None),
            ("6GB", Some("16MB"), Some(384)),
            ("4097.4kB", Some("kB"), Some(4097)),
            ("4097.5kB", Some("kB"), Some(4098)),
            ("-070", None, Some(-56)),
            ("08", None, None),
            ("1e3", None, Some(1000)),
            (".5", None, Some(0)),
            ("1.5", None, Some(2)),
            ("2.5", None, Some(2)),
            ("1d", Some("min"), Some(1440)),
            ("1gb", Some("MB"), None),
            ("10 s", None, None),
            ("", None, None),
            ("9223372036854775807", None, Some(i64::MAX)),
        ] {
            assert_eq!(parse_int_text(text, base), expected, "{text:?} {base:?}");
        }
    }

    #[test]
    fn reals_are_rounded_to_the_smaller_unit() {
        for (text, base, expected) in [
            (" +0.0005 ", None, Some(0.0005)),
            ("0.0005ms", Some("ms"), Some(0.0)),
            ("0.00051ms", Some("ms"), Some(0.001)),
            ("1.5A", Some("ms"), None),
            ("8.325e-10", None, Some(8.325e-10)),
        ] {
            assert_eq!(parse_real_text(text, base), expected, "{text:?}");
        }
    }

    #[test]
    fn settings_are_shown_in_units_that_people_use() {
        for (setting, vartype, unit, expected) in [
            ("5", "integer", Some("ms"), "5ms"),
            ("1024", "integer", Some("kB"), "1MB"),
            ("1025", "integer", Some("kB"), "1025kB"),
            ("4", "integer", Some("256MB"), "1GB"),
            ("16384", "integer", Some("8kB"), "128MB"),
            ("-1", "integer", Some("ms"), "-1ms"),
            ("0", "integer", Some("ms"), "0"),
            ("4.2", "real", Some("ms"), "4200us"),
            ("2.5", "real", Some("ms"), "2500us"),
            ("5", "real", Some("ms"), "5ms"),
            ("on", "bool", None, "on"),
            ("", "integer", Some("256MB"), ""),
        ] {
            assert_eq!(humanize(setting, vartype, unit), expected, "{setting} {unit:?}");
        }
    }
}
