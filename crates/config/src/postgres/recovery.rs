//! Recovery parameters: their names, and the section of the file that makes a standby follow.

use serde_json::{Map, Value};

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

/// The sorted lines of the recovery section (or of recovery.conf before PostgreSQL 12), validated for the version.
/// `settings` is `recovery_conf` with what the agent adds; `primary` is written as `primary_conninfo`.
pub fn recovery_file_parameters(
    _version: u32,
    _settings: &Map<String, Value>,
    _primary: Option<&Conninfo>,
    _known: Option<&DescribeConfig>,
) -> (Vec<(String, String)>, Vec<String>) {
    todo!()
}
