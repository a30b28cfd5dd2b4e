//! Numbers with PostgreSQL's units.

use serde_json::Value;

/// An integer in the base unit (`kB`, `8kB`, `16MB`, `ms`, `s`, `min`; none: no unit may be given).
/// Decimal, octal and hexadecimal; reals are rounded half to even. `None` when it is no such number.
pub fn parse_int(_value: &Value, _base_unit: Option<&str>) -> Option<i64> {
    todo!()
}

/// A real in the base unit.
pub fn parse_real(_value: &Value, _base_unit: Option<&str>) -> Option<f64> {
    todo!()
}

/// `on`, `true`, `yes`, `1` and their opposites, in any case.
pub fn parse_bool(value: &Value) -> Option<bool> {
    match crate::python::str(value).to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A value of pg_settings in its base unit as people write it: `1024` in `kB` is `1MB`.
pub fn humanize(_setting: &str, _vartype: &str, _unit: Option<&str>) -> String {
    todo!()
}
