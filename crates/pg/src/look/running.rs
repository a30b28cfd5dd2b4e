//! What a running server has in force, and which of it waits for a restart.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jogi_config::postgres::{ServerParameters, Setting, Wanted, compare, is_recovery_parameter};

use crate::connect::{Connection, SqlError, TextRow};
use crate::instance::Instance;

/// What a running server has in force.
#[derive(Clone, Debug, Default)]
pub struct Running {
    pub version: u32,
    pub in_recovery: bool,
    /// By lower-case name.
    pub settings: BTreeMap<String, Setting>,
    /// When it last loaded its files.
    pub loaded_at: Option<SystemTime>,
}

/// Asks a running server for all its settings.
pub async fn running(connection: &mut Connection, within: Duration) -> Result<Running, SqlError> {
    let settings = "SELECT name, setting, unit, vartype, context FROM pg_settings";
    let settings = connection.query(settings, within).await?;
    let state = "SELECT pg_is_in_recovery(), (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint";
    let state = connection.query(state, within).await?;
    let state = state.first();
    let micros = state.and_then(|row| row.get(1)).and_then(|micros| micros.parse().ok());
    Ok(Running {
        version: connection.server_version(),
        in_recovery: state.and_then(|row| row.get(0)) == Some("t"),
        settings: settings.iter().filter_map(setting).collect(),
        loaded_at: micros.map(|micros| UNIX_EPOCH + Duration::from_micros(micros)),
    })
}

fn setting(row: &TextRow) -> Option<(String, Setting)> {
    let setting = Setting {
        setting: row.get(1).unwrap_or_default().to_owned(),
        unit: row.get(2).map(str::to_owned),
        vartype: row.get(3)?.to_owned(),
        context: row.get(4)?.to_owned(),
    };
    Some((row.get(0)?.to_lowercase(), setting))
}

/// Parameters that wait for a restart: name → (old, new). What the command line carries is compared with the
/// configuration; of the rest the server itself says so, except for what recovery needs (ha-rules 22.3).
pub async fn pending_restart(
    instance: &Instance,
    connection: &mut Connection,
    within: Duration,
) -> Result<BTreeMap<String, (String, String)>, SqlError> {
    let in_force = running(connection, within).await?;
    let parameters = ServerParameters::new(instance.version(), &instance.effective, &instance.local, instance.known());
    let wanted = Wanted { before: &parameters.wanted, after: &parameters.wanted };
    let compared = compare(&in_force.settings, wanted).pending_restart;
    let mut pending: BTreeMap<String, (String, String)> =
        compared.into_iter().map(|(name, change)| (name, (change.old_value, change.new_value))).collect();
    let reported = "SELECT s.name, current_setting(s.name), \
                    (SELECT f.setting FROM pg_file_settings f WHERE f.name = s.name ORDER BY f.seqno DESC LIMIT 1) \
                    FROM pg_settings s WHERE s.pending_restart";
    for row in connection.query(reported, within).await? {
        let Some(name) = row.get(0) else { continue };
        if !is_recovery_parameter(name) && name != "hot_standby" && !pending.contains_key(name) {
            let value = |column| row.get(column).unwrap_or("?").to_owned();
            pending.insert(name.to_owned(), (value(1), value(2)));
        }
    }
    Ok(pending)
}
