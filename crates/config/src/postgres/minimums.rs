//! Parameters that a standby must not start with below the primary's.

use std::collections::BTreeMap;

use super::{PendingRestart, ServerParameters};

/// A parameter and its line in pg_controldata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyMinimum {
    pub parameter: &'static str,
    /// `max_connections setting` and so on.
    pub control_data: &'static str,
    pub since: u32,
}

pub const STANDBY_MINIMUMS: [StandbyMinimum; 5] = [
    StandbyMinimum { parameter: "max_connections", control_data: "max_connections setting", since: 0 },
    StandbyMinimum { parameter: "max_prepared_transactions", control_data: "max_prepared_xacts setting", since: 0 },
    StandbyMinimum { parameter: "max_locks_per_transaction", control_data: "max_locks_per_xact setting", since: 0 },
    StandbyMinimum { parameter: "max_worker_processes", control_data: "max_worker_processes setting", since: 90_400 },
    StandbyMinimum { parameter: "max_wal_senders", control_data: "max_wal_senders setting", since: 120_000 },
];

/// What was raised, and what is therefore waiting for a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    pub pending_restart: BTreeMap<String, PendingRestart>,
    pub messages: Vec<String>,
}

impl ServerParameters {
    /// Raises each parameter below the value in pg_controldata (its lines as a map, `Current ` cut off) for
    /// the start of a standby.
    pub fn raise_to(&mut self, _control_data: &BTreeMap<String, String>) -> Raised {
        todo!()
    }
}
