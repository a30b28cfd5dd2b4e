//! Failsafe mode (ha-rules 17): a leader that has lost the store stays primary while every other member of the
//! failsafe topology promises not to race.
//!
//! # What it guarantees
//!
//! - A promise is counted from before it was asked for and by the arithmetic of the lease ([`crate::lease::Deadlines`]);
//!   the member that gives it keeps it for `ttl` from when it heard the question, which is later. So the guard has
//!   closed the leader's server before the first of the others may race, exactly as with the store's lease.
//! - The leader counts the oldest of the newest promises: one member that falls silent stops the extension.
//! - Whoever may lead has been asked. The `failsafe` key is written under the lock only; a member that is not named in
//!   it may not lead; and the leader asks everybody whom the key names or may name (a write without an answer counts
//!   as done and as not done).
//! - A promise binds whatever the store shows and whatever the mode is by then. It ends by time, or when the member
//!   that it was given to says, asked after it was given, that it is not in failsafe mode.
//! - An agent that has just begun may have promised and not know it. It takes the lock only after `ttl`, or when every
//!   other member of the topology has said that it is not in failsafe mode.
//!
//! # What it leaves to others
//!
//! The deadlines and the lock as one unbroken lease: the keeper ([`crate::lease::keeper`]). The end of the server: the guard.
//!
//! [`leading`] has the leader's half, [`promising`] that of the others.

mod leading;
mod promising;

use std::collections::BTreeMap;

use super::{Generation, Promises};
use crate::{Lsn, MemberName, SlotName, Tick};

/// Names and REST addresses.
type Topology = BTreeMap<MemberName, String>;

#[derive(Clone, Debug, Default)]
pub(super) struct Failsafe {
    // What this member has promised.
    given: BTreeMap<MemberName, Promise>,
    /// This agent cannot have forgotten a promise: it found the guard of a leader at work.
    sure: bool,
    /// The mode was switched off at this moment, as far as this agent knows.
    off_since: Option<Tick>,
    /// Who said that it is not in failsafe mode, by when it was asked.
    cleared: BTreeMap<MemberName, Tick>,
    inquired: BTreeMap<MemberName, Tick>,

    // What this member counts on as the leader.
    known: Option<(Generation, Topology)>,
    /// Members whose keys are gone, and since when.
    vanished: BTreeMap<MemberName, Tick>,
    /// What writes of ours may have put into the key and no view has confirmed.
    floating: Topology,
    /// The last write, once the store has answered it.
    written: Option<Topology>,
    /// Until then a write without an answer may yet take effect.
    uncertain_until: Tick,
    episode: Option<Episode>,
    promises: Option<Promises>,
    /// The keeper counts on promises until it is seen to renew without them; the value is the renewal before.
    winding_down: Option<Tick>,
}

/// A promise not to race, given to a leader.
#[derive(Clone, Debug)]
struct Promise {
    given_at: Tick,
    until: Tick,
    conn_url: String,
    api_url: String,
    slots: BTreeMap<SlotName, Lsn>,
}

/// A time without the store.
#[derive(Clone, Debug)]
struct Episode {
    began: Tick,
    generation: Generation,
    /// By member: when the newest question that it said yes to was asked.
    promised: BTreeMap<MemberName, Tick>,
    tried: BTreeMap<MemberName, Tick>,
    /// It says that it leads itself.
    contradicted_by: Option<MemberName>,
}

impl Failsafe {
    /// The mode was switched off: who is outside the topology waits for those who have not heard of it.
    pub(super) fn switched_off(&mut self, now: Tick) {
        self.off_since = Some(now);
    }

    /// The guard of an earlier agent of this member holds a lease: nothing was promised.
    pub(super) fn found_leading(&mut self) {
        self.sure = true;
    }
}
