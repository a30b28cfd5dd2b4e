//! What a member remembers of itself and of the cluster beside what the last look and the last view show.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Upstream;
use super::basis::Basis;
use crate::view::{Cluster, Revision, Session, Status};
use crate::{MemberName, Tick};

/// A view of the store with its age.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub cluster: Arc<Cluster>,
    pub read_at: Tick,
    pub linearizable: bool,
}

/// The role in memory, as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Uninitialized,
    Replica,
    /// It follows a primary outside, and leads those who follow it (standby clusters).
    StandbyLeader,
    Promoted,
    Primary,
    Demoted,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Role::Uninitialized => "uninitialized",
            Role::Replica => "replica",
            Role::StandbyLeader => "standby_leader",
            Role::Promoted => "promoted",
            Role::Primary => "primary",
            Role::Demoted => "demoted",
        }
    }

    /// The role that callbacks are told.
    pub fn for_callback(self) -> &'static str {
        match self {
            Role::Promoted => "primary",
            other @ (Role::Uninitialized | Role::Replica | Role::StandbyLeader | Role::Primary | Role::Demoted) => {
                other.word()
            }
        }
    }

    pub fn is_primary(self) -> bool {
        matches!(self, Role::Primary | Role::Promoted)
    }
}

/// The state of PostgreSQL as published, where it does not follow from the last look alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    AsSeen,
    InitializingCluster,
    InitdbFailed,
    CreatingReplica,
    Starting,
    StartFailed,
    Restarting,
    RestartFailed,
    Stopping,
    Crashed,
}

/// The upstream that the server was last told to follow, and on which timeline's leader.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Followed {
    pub upstream: Option<Upstream>,
    pub dynamic: Option<Revision>,
    pub feedback: bool,
}

/// Consecutive failures, for growing pauses between tries.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub start: u32,
    pub clone: u32,
    pub rewind: u32,
    pub compare: u32,
    pub compare_at: Tick,
    pub retry_at: Tick,
}

/// What was last written under our own name, so that nothing is written twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    pub member: Option<String>,
    pub shown: Option<super::member::Shown>,
    /// The key's content that was made last, and of what.
    pub member_made: Option<super::member::Made>,
    pub member_session: Option<Session>,
    pub member_at: Tick,
    /// Positions are published once a routine look has brought them, not by each look that something else wants: since
    /// when they are due, and of which looks the keys have them.
    pub positions_due: Tick,
    pub member_look: Tick,
    pub status_look: Tick,
    pub status: Option<Status>,
    /// The status that was made last, and of what.
    pub status_made: Option<(Basis, Status)>,
    pub failover_cleared: Option<Revision>,
    /// The failsafe topology, and when it was written.
    pub failsafe: Option<(BTreeMap<MemberName, String>, Tick)>,
    pub initialize: bool,
}
