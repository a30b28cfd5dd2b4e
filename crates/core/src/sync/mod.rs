//! The synchronous modes as arithmetic: who has to confirm a commit, and who may succeed.
//!
//! Two places say it: `synchronous_standby_names` of the primary (whose confirmation a commit waits for) and the
//! `sync` key of the store (who may take over). The promise of the modes, that no acknowledged commit is ever missing
//! from the next primary, holds as long as whoever can be elected by the key has what everybody who can acknowledge
//! by the names has. These modules say which of the two places is changed next so that this stays true after every
//! single step, whatever was interrupted before ([`priority`] and [`quorum`]).
//!
//! What counts as "the names are in force" and "this standby has caught up" is the business of the caller
//! (`ha/synchronous`); it is an input here.

pub mod names;
pub mod priority;
pub mod quorum;
pub mod replicas;

use std::collections::BTreeSet;

use crate::MemberName;

pub use names::{Kind, StandbyNames};
pub use replicas::Replica;

/// A set of members.
pub type Names = BTreeSet<MemberName>;

/// One change of one of the two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write the `sync` key.
    Key { leader: MemberName, quorum: u32, standbys: Names },
    /// Put another value of `synchronous_standby_names` in force.
    Names(StandbyNames),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    Change(Change),
    /// Something is on its way (a standby that catches up): look again soon.
    Wait,
    Rest,
}
