//! Parameters that a standby must not start with below the primary's.
//!
//! Hot standby refuses to go on when these are lower than what the primary had when it wrote the WAL
//! (PostgreSQL: `xlog.c`, CheckRequiredParameterValues), so the values in pg_controldata are used instead
//! and a restart is pending.

use std::collections::BTreeMap;

use super::units::{parse_int, parse_int_text};
use super::{PendingRestart, ServerParameters};

/// A parameter and its line in pg_controldata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyMinimum {
    pub parameter: &'static str,
    /// `max_connections setting` and so on.
    pub control_data: &'static str,
    pub since: u32,
}

const fn row(parameter: &'static str, control_data: &'static str, since: u32) -> StandbyMinimum {
    StandbyMinimum { parameter, control_data, since }
}

pub const STANDBY_MINIMUMS: [StandbyMinimum; 5] = [
    row("max_connections", "max_connections setting", 0),
    row("max_prepared_transactions", "max_prepared_xacts setting", 0),
    row("max_locks_per_transaction", "max_locks_per_xact setting", 0),
    row("max_worker_processes", "max_worker_processes setting", 90_400),
    row("max_wal_senders", "max_wal_senders setting", 120_000),
];

/// What was raised, and what is therefore waiting for a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    pub pending_restart: BTreeMap<String, PendingRestart>,
    pub messages: Vec<String>,
}

impl ServerParameters {
    /// Raises each parameter below the value in pg_controldata (its lines as a map, with or without
    /// `Current ` in front) for the start of a standby.
    pub fn raise_to(&mut self, control_data: &BTreeMap<String, String>) -> Raised {
        let mut raised = Raised::default();
        let version = self.version;
        for minimum in STANDBY_MINIMUMS.iter().filter(|minimum| version >= minimum.since) {
            let line = minimum.control_data;
            let Some(text) = control_data.get(line).or_else(|| control_data.get(&format!("Current {line}"))) else {
                raised.messages.push(format!("{line} is missing from pg_controldata output"));
                continue;
            };
            let configured = self.wanted.get(minimum.parameter).and_then(|value| parse_int(value, None));
            if let (Some(needed), Some(configured)) = (parse_int_text(text, None), configured)
                && needed > configured
            {
                let name = minimum.parameter;
                self.replace(name, needed.into());
                raised.messages.push(format!(
                    "{name} value in pg_controldata: {needed}, in the global configuration: {configured}. \
                     pg_controldata value will be used. Setting 'Pending restart' flag"
                ));
                let pending = PendingRestart { old_value: needed.to_string(), new_value: configured.to_string() };
                raised.pending_restart.insert(name.to_owned(), pending);
            }
        }
        raised
    }
}
