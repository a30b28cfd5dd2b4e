//! Recovery parameters: their names, and the section of the file that makes a standby follow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::rules::recovery_parameter;
use super::units::parse_bool;
use super::{Conninfo, DescribeConfig};

/// Every name that is a recovery parameter in some version.
pub const RECOVERY_PARAMETERS: [&str; 18] = [
    "archive_cleanup_command",
    "pause_at_recovery_target",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restore_command",
    "standby_mode",
    "trigger_file",
];

pub fn is_recovery_parameter(name: &str) -> bool {
    RECOVERY_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The name of the promotion trigger file's parameter before PostgreSQL 12, and from 12 on.
const TRIGGER_FILE: [&str; 2] = ["trigger_file", "promote_trigger_file"];

/// The sorted lines of the recovery section (or of recovery.conf before PostgreSQL 12), validated for the
/// version, and warnings. `settings` is `recovery_conf` with what the agent adds; `primary` is written as
/// `primary_conninfo`. The trigger file's two names stand for each other, `pause_at_recovery_target` for
/// its successor; from PostgreSQL 12 on `standby_mode` is a signal file and is left out silently.
pub fn recovery_file_parameters(
    version: u32,
    settings: &Map<String, Value>,
    primary: Option<&Conninfo>,
    known: Option<&DescribeConfig>,
) -> (Vec<(String, String)>, Vec<String>) {
    let mut settings: BTreeMap<String, Value> = settings.iter().map(|(n, v)| (n.to_lowercase(), v.clone())).collect();
    if version >= 120_000 {
        settings.remove("standby_mode");
    }
    name_trigger_file(version, &mut settings);
    name_target_action(&mut settings);
    let conninfo = settings.remove("primary_conninfo");
    let mut warnings = Vec::new();
    let mut lines = Vec::new();
    for (name, value) in settings {
        let verdict = recovery_parameter(version, &name, &value, known);
        warnings.extend(verdict.warning);
        lines.extend(verdict.written.map(|written| (name, written)));
    }
    let text = match primary {
        Some(primary) => Some(primary.to_dsn(version)),
        None => conninfo.as_ref().and_then(Value::as_str).map(str::to_owned),
    };
    lines.extend(text.map(|text| ("primary_conninfo".to_owned(), text)));
    lines.sort();
    (lines, warnings)
}

fn name_trigger_file(version: u32, settings: &mut BTreeMap<String, Value>) {
    let [before, after] = TRIGGER_FILE;
    let (right, wrong) = if version >= 120_000 { (after, before) } else { (before, after) };
    if let Some(value) = settings.remove(wrong).filter(crate::python::is_true) {
        settings.entry(right.to_owned()).or_insert(value);
    }
}

fn name_target_action(settings: &mut BTreeMap<String, Value>) {
    if let Some(pause) = settings.remove("pause_at_recovery_target").as_ref().and_then(parse_bool) {
        let action = if pause { "pause" } else { "promote" };
        settings.entry("recovery_target_action".to_owned()).or_insert_with(|| action.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(version: u32, settings: Value) -> Vec<String> {
        let primary = Conninfo::parse("host=10.0.0.5 port=5432 user=rep").map(|c| c.with_defaults(version));
        let settings = settings.as_object().cloned().expect("an object");
        let (lines, _) = recovery_file_parameters(version, &settings, primary.as_ref(), None);
        lines.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn old_and_new_names_fit_the_version() {
        let settings = json!({
            "standby_mode": "on", "recovery_target_timeline": "latest", "trigger_file": "/t", "pause_at_recovery_target": "off",
            "primary_slot_name": "n1", "restore_command": "cp", "recovery_target": "", "nonsense": 1,
        });
        assert_eq!(
            lines(150_000, settings.clone()),
            [
                "primary_conninfo=user=rep host=10.0.0.5 port=5432 sslmode=prefer gssencmode=prefer channel_binding=prefer",
                "primary_slot_name=n1",
                "promote_trigger_file=/t",
                "recovery_target=",
                "recovery_target_action=promote",
                "recovery_target_timeline=latest",
                "restore_command=cp",
            ]
        );
        assert_eq!(
            lines(110_000, settings),
            [
                "primary_conninfo=user=rep host=10.0.0.5 port=5432 sslmode=prefer",
                "primary_slot_name=n1",
                "recovery_target=",
                "recovery_target_action=promote",
                "recovery_target_timeline=latest",
                "restore_command=cp",
                "standby_mode=on",
                "trigger_file=/t",
            ]
        );
    }
}
