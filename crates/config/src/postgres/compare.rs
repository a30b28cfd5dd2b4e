//! Is a configured value the one the server runs with? Unit-aware, as `pending_restart` needs it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::units::{humanize, parse_bool, parse_int, parse_int_text, parse_real};
use super::{Parameters, is_recovery_parameter};
use crate::python;

/// A row of pg_settings: `name, setting, unit, vartype, context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub setting: String,
    pub unit: Option<String>,
    /// `bool`, `integer`, `real`, `enum` or `string`.
    pub vartype: String,
    /// `postmaster`, `sighup`, `user`, `internal` …
    pub context: String,
}

/// A parameter that differs and takes effect only after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRestart {
    pub old_value: String,
    pub new_value: String,
}

impl PendingRestart {
    /// Old and new value in the units that people use; nothing is an empty text.
    pub fn of(old: Option<&str>, new: Option<&str>, vartype: &str, unit: Option<&str>) -> PendingRestart {
        let shown = |value: Option<&str>| humanize(value.unwrap_or(""), vartype, unit);
        PendingRestart { old_value: shown(old), new_value: shown(new) }
    }
}

/// The parameters before and after a change of configuration.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub before: &'a Parameters,
    pub after: &'a Parameters,
}

/// What a change of configuration means for a running server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// `postgresql.conf` must be written and the server reloaded.
    pub changed: bool,
    pub pending_restart: BTreeMap<String, PendingRestart>,
    /// One sentence per change, for the log.
    pub messages: Vec<String>,
    /// Configured names that the server does not know: not to be written.
    pub invalid: Vec<String>,
    /// `listen_addresses`, `port` or the socket directories change: keep the local connection as it is.
    pub local_address_changed: bool,
}

/// Rows that tell the default of wal_buffers.
const WAL_BUFFERS_NEEDS: [&str; 3] = ["shared_buffers", "wal_segment_size", "wal_block_size"];

/// Recovery parameters are compared on their own; hot_standby is never lowered.
fn is_compared(name: &str) -> bool {
    !is_recovery_parameter(name) && !name.eq_ignore_ascii_case("hot_standby")
}

impl Wanted<'_> {
    /// The lower-case names whose rows of pg_settings [`compare`] needs.
    pub fn names(&self) -> BTreeSet<String> {
        let both = self.before.iter().chain(self.after.iter());
        let mut names: BTreeSet<String> =
            both.map(|(name, _)| name.to_lowercase()).filter(|name| is_compared(name)).collect();
        if names.contains("wal_buffers") {
            names.extend(WAL_BUFFERS_NEEDS.map(str::to_owned));
        }
        names
    }
}

/// Compares pg_settings (rows of every name in [`Wanted::names`]) with a new configuration.
pub fn compare(settings: &BTreeMap<String, Setting>, wanted: Wanted<'_>) -> Comparison {
    let rows: BTreeMap<String, (&str, &Setting)> =
        settings.iter().map(|(name, row)| (name.to_lowercase(), (name.as_str(), row))).collect();
    let both = wanted.before.iter().chain(wanted.after.iter());
    let names: BTreeSet<String> = both.map(|(name, _)| name.to_lowercase()).filter(|name| is_compared(name)).collect();
    let mut result = Comparison::default();
    for name in names {
        if name == "wal_buffers" && same_wal_buffers(&rows, wanted.after.get(&name)) {
            continue;
        }
        match rows.get(&name) {
            Some((_, row)) if row.context == "internal" => {}
            Some((name, row)) => result.known(name, row, wanted),
            None => result.unknown(&name, wanted),
        }
    }
    result
}

impl Comparison {
    fn change(&mut self, name: &str, old: &str, new: Option<&Value>, restart: bool) {
        let new = new.map_or_else(|| "None".to_owned(), python::str);
        let restart = if restart { " (restart might be required)" } else { "" };
        self.messages.push(format!("Changed {name} from '{old}' to '{new}'{restart}"));
        self.changed = true;
    }

    fn known(&mut self, name: &str, row: &Setting, wanted: Wanted<'_>) {
        let new = wanted.after.get(name);
        let unit = row.unit.as_deref();
        if new.is_some_and(|new| equivalent(row, new)) {
            // Set back to what the server has, while the file still says something else.
            if let Some(before) = wanted.before.get(name).filter(|before| !equivalent(row, before)) {
                self.change(name, &python::str(before), new, false);
            }
            return;
        }
        let restart = row.context == "postmaster";
        self.change(name, &humanize(&row.setting, &row.vartype, unit), new, restart);
        if restart {
            let text = new.map(python::str);
            let pending = PendingRestart::of(Some(&row.setting), text.as_deref(), &row.vartype, unit);
            self.pending_restart.insert(name.to_owned(), pending);
            self.local_address_changed |= matches!(name, "listen_addresses" | "port" | "unix_socket_directories");
        }
    }

    /// Not in pg_settings: a parameter of an extension not loaded yet, or a mistake.
    fn unknown(&mut self, name: &str, wanted: Wanted<'_>) {
        let (before, after) = (wanted.before.get(name), wanted.after.get(name));
        if name.contains('.') {
            let same = matches!((before, after), (Some(before), Some(after)) if python::same(before, after));
            if !same {
                self.change(name, &before.map_or_else(|| "None".to_owned(), python::str), after, false);
            }
        } else if after.is_some() {
            self.messages.push(format!("Removing invalid parameter `{name}` from postgresql.parameters"));
            self.invalid.push(name.to_owned());
        }
    }
}

/// `-1` stands for a size that follows from shared_buffers.
fn same_wal_buffers(rows: &BTreeMap<String, (&str, &Setting)>, new: Option<&Value>) -> bool {
    let number = |name: &str| rows.get(name).and_then(|(_, row)| parse_int_text(&row.setting, None));
    let Some((_, current)) = rows.get("wal_buffers") else { return false };
    let block_size = number("wal_block_size").unwrap_or(8192) as f64;
    let segment = rows.get("wal_segment_size").map(|(_, row)| *row);
    let segment_unit = segment.and_then(|row| row.unit.as_deref()).map_or(1, |unit| match unit {
        unit if unit.starts_with(|c: char| c.is_ascii_digit()) => parse_int_text(unit, Some("B")).unwrap_or(8192),
        _ => 1,
    });
    let segment_default = if segment.is_some_and(|row| row.unit.is_some()) { 2048 } else { 16_777_216 };
    let segment_size = number("wal_segment_size").unwrap_or(segment_default) as f64 * segment_unit as f64 / block_size;
    let shared_buffers = number("shared_buffers").unwrap_or(16384) as f64;
    let automatic = (shared_buffers / 32.0).max(8.0).min(segment_size);

    let unit = current.unit.as_deref();
    let size = |text: &str| match text {
        "-1" => Some(automatic),
        text => parse_int_text(text, unit).map(|blocks| blocks as f64),
    };
    let new = new.filter(|new| python::is_true(new)).map_or_else(|| "-1".to_owned(), python::str);
    size(&new).is_some() && size(&new) == size(&current.setting)
}

/// True when a configured value is the server's value: numbers by their units, booleans by their meaning.
pub fn equivalent(setting: &Setting, configured: &Value) -> bool {
    let current = Value::from(setting.setting.as_str());
    let unit = setting.unit.as_deref();
    fn both<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
        a.is_some() && a == b
    }
    match setting.vartype.as_str() {
        "bool" => both(parse_bool(&current), parse_bool(configured)),
        "integer" => both(parse_int(&current, None), parse_int(configured, unit)),
        "real" => both(parse_real(&current, None), parse_real(configured, unit)),
        "enum" => setting.setting.to_lowercase() == python::str(configured).to_lowercase(),
        _ => setting.setting == python::str(configured),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(setting: &str, unit: Option<&str>, vartype: &str, context: &str) -> Setting {
        Setting {
            setting: setting.into(),
            unit: unit.map(str::to_owned),
            vartype: vartype.into(),
            context: context.into(),
        }
    }

    fn parameters(values: Value) -> Parameters {
        let mut parameters = Parameters::default();
        for (name, value) in values.as_object().expect("an object") {
            parameters.set(name, value.clone());
        }
        parameters
    }

    #[test]
    fn values_are_compared_by_meaning() {
        for (vartype, unit, setting, configured, same) in [
            ("enum", None, "remote_write", json!("REMOTE_WRITE"), true),
            ("string", None, "remote_write", json!("REMOTE_WRITE"), false),
            ("real", None, "1e-06", json!(0.000001), true),
            ("integer", Some("MB"), "6GB", json!("6GB"), false),
            ("integer", None, "6GB", json!("6GB"), false),
            ("integer", Some("16384kB"), "64", json!(" 0x400 MB "), true),
            ("integer", Some("2MB"), "524288", json!("1TB"), true),
            ("integer", Some("kB"), "4098", json!("4097.5kB"), true),
            ("bool", None, "on", json!(true), true),
            ("bool", None, "off", json!("no"), true),
        ] {
            assert_eq!(equivalent(&row(setting, unit, vartype, "user"), &configured), same, "{setting} {configured}");
        }
    }

    #[test]
    fn changes_are_told_apart_by_what_they_need() {
        let settings = BTreeMap::from([
            ("shared_buffers".to_owned(), row("16384", Some("8kB"), "integer", "postmaster")),
            ("work_mem".to_owned(), row("4096", Some("kB"), "integer", "user")),
            ("DateStyle".to_owned(), row("ISO, MDY", None, "string", "user")),
            ("max_connections".to_owned(), row("100", None, "integer", "postmaster")),
            ("port".to_owned(), row("5432", None, "integer", "postmaster")),
            ("block_size".to_owned(), row("8192", None, "integer", "internal")),
        ]);
        let before = parameters(json!({"work_mem": "8MB", "ext.a": 1, "ext.b": 1, "port": "5432"}));
        let after = parameters(json!({
            "shared_buffers": "256MB", "work_mem": "4MB", "datestyle": "ISO, MDY", "max_connections": 100, "port": "5433", "ext.a": "1",
            "block_size": 1, "nonsense": 1, "restore_command": "cp", "hot_standby": "on",
        }));
        let result = compare(&settings, Wanted { before: &before, after: &after });
        assert!(result.changed && result.local_address_changed);
        assert_eq!(result.invalid, ["nonsense"]);
        let pending = |old: &str, new: &str| PendingRestart { old_value: old.into(), new_value: new.into() };
        assert_eq!(
            result.pending_restart,
            BTreeMap::from([
                ("shared_buffers".to_owned(), pending("128MB", "256MB")),
                ("port".to_owned(), pending("5432", "5433"))
            ])
        );
        assert_eq!(
            result.messages,
            [
                "Changed ext.b from '1' to 'None'",
                "Removing invalid parameter `nonsense` from postgresql.parameters",
                "Changed port from '5432' to '5433' (restart might be required)",
                "Changed shared_buffers from '128MB' to '256MB' (restart might be required)",
                "Changed work_mem from '8MB' to '4MB'",
            ]
        );
    }

    #[test]
    fn automatic_wal_buffers_are_the_computed_ones() {
        let settings = BTreeMap::from([
            ("wal_buffers".to_owned(), row("512", Some("8kB"), "integer", "postmaster")),
            ("shared_buffers".to_owned(), row("16384", Some("8kB"), "integer", "postmaster")),
            ("wal_segment_size".to_owned(), row("16777216", Some("B"), "integer", "internal")),
            ("wal_block_size".to_owned(), row("8192", None, "integer", "internal")),
        ]);
        for (value, changed) in [(json!(-1), false), (json!("4MB"), false), (json!("16MB"), true)] {
            let after = parameters(json!({"wal_buffers": value}));
            let none = Parameters::default();
            let wanted = Wanted { before: &none, after: &after };
            assert_eq!(compare(&settings, wanted).changed, changed, "{value}");
            assert!(wanted.names().contains("wal_block_size"));
        }
    }
}
