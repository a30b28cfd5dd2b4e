//! Failsafe mode (ha-rules 17): a leader that has lost the store but reaches every member.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reply;
use super::machine::Ha;
use crate::{MemberName, Tick};

/// Pings received from a leader that has lost the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Failsafe {
    pinged_at: Option<Tick>,
}

impl Failsafe {
    /// A ping is younger than `ttl`.
    pub fn is_active(&self, now: Tick, ttl: Duration) -> bool {
        self.pinged_at.is_some_and(|at| now.since(at) < ttl)
    }

    /// Whether this member may stay primary without the store. Never yet: the sending half of the mode comes
    /// with the synchronous modes; without it a lost store closes the primary, which is the safe side.
    pub fn keeps_leading(&self, _now: Tick) -> bool {
        false
    }
}

impl Ha {
    /// The receiving half (ha-rules 17.3).
    pub(super) fn failsafe_ping(
        &mut self,
        _name: MemberName,
        _conn_url: String,
        _api_url: String,
        _slots: BTreeMap<String, u64>,
    ) -> Reply {
        if !self.settings.failsafe_mode {
            return Reply::new(502, "failsafe mode is off");
        }
        if self.is_writable() {
            return Reply::new(500, "Running as a leader");
        }
        self.failsafe.pinged_at = Some(self.now.boot);
        Reply::new(200, "Accepted")
    }
}
