//! What the outside may read of the core at any time: one immutable value after each turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Decision, Lease, Local, Restart, Server};
use crate::view::{Cluster, MemberData, Settings};
use crate::{Lsn, MemberName, Now, Tick, Wall};

/// The member as of its last turn. REST, metrics and the control tool's `why` are made from this.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub local: Arc<Local>,
    pub taken_at: Now,
    /// Patroni's word for the state of PostgreSQL: `running`, `starting`, `stopped` … (dcs-layout 2.6).
    pub state: &'static str,
    /// `primary`, `replica`, `standby_leader`, `demoted`, `promoted`, `uninitialized`.
    pub role: &'static str,
    pub server: Option<Arc<Server>>,
    /// The last good view, until it is older than `ttl`.
    pub cluster: Option<Arc<Cluster>>,
    pub settings: Arc<Settings>,
    /// The dynamic configuration in force.
    pub dynamic: Arc<Value>,
    pub lease: Lease,
    pub decision: Decision,
    /// What is being done to the server at this moment (`restart`, `promote`, …).
    pub operation: Option<&'static str>,
    /// The server does not run yet and is about to be started, as far as is known.
    pub coming_up: bool,
    /// The server can be read from and its member has no say in a race: the store is lost to it.
    pub aside: bool,
    pub scheduled_restart: Option<Restart>,
    /// This member leads without the store, or has promised another to let it.
    pub failsafe_active: bool,
    /// The failsafe topology as last read, however old.
    pub failsafe_topology: Option<BTreeMap<MemberName, String>>,
    /// When the store last answered; zero before the first contact.
    pub store_last_seen: Wall,
    /// The deadline of the next turn.
    pub next_turn: Option<Tick>,
    /// The member key as it is (or is about to be) published.
    pub member: MemberData,
    /// Our last known WAL position.
    pub position: Lsn,
    /// `guarded`, `adopted` or `unguarded`, and what the guard last did.
    pub guard: GuardState,
    pub watchdog_failed: bool,
}

/// What stands between a dead agent and a second primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardState {
    /// The postmaster was running before the guard: its death is not tied to the guard's until its next restart.
    pub adopted: bool,
    pub armed: bool,
    pub last: Option<&'static str>,
}
