//! The leader's part in the synchronous modes (ha-rules 11, 12): it keeps `synchronous_standby_names` of its server and
//! the `sync` key of the store so that whoever may succeed has every acknowledged commit.
//!
//! What is changed next is said by [`crate::sync`], one change at a time, each from what then stands. This folder
//! knows what that stands on:
//!
//! - **Names are in force** when the effect that put them there has ended (every process of the server works by them)
//!   and a look that began afterwards shows them. They are not any more when the server has been started again or shows
//!   others.
//! - **A standby has caught up** when it has confirmed the position that the primary had at such a look. That is asked
//!   anew after every change of the names: who had everything while it was one of two to choose from may lack what the
//!   other one confirmed.
//! - **The key** is written on the revision that was read, and only under our own lock. Our own last write counts until
//!   the view has it. A write of which it is not known whether it was done is repeated before anything is built on
//!   either: what may still be on its way then finds another revision.

mod key;
mod leaving;
mod names;
mod standbys;
mod succession;

use std::collections::BTreeMap;
use std::time::Duration;

use self::key::OwnKey;
use self::names::InForce;
use self::standbys::Standbys;
use super::Mode;
use super::basis::Basis;
use super::flight::Purpose;
use super::machine::Ha;
use super::timer::Timer;
use crate::sync::quorum::as_quorum;
use crate::sync::{Change, Kind, Names, Plan, StandbyNames, priority, quorum};
use crate::view::{Revision, SyncMode, SyncState};
use crate::{Lsn, MemberName, Tick, Weakness};

/// How often the leader looks at its walsenders at rest: a lost standby holds up commits until it is noticed.
const REST: Duration = Duration::from_secs(1);
/// How often while a standby is waited for, and for how long so often.
const SOON: Duration = Duration::from_millis(50);
const SOON_FOR: Duration = Duration::from_secs(3);

/// What is known of names and key beyond what look and view show.
#[derive(Clone, Debug, Default)]
pub(super) struct Synchronous {
    own: Option<OwnKey>,
    /// The key has to be read again, by a reading that began after this.
    read_after: Option<Tick>,
    /// Our last write may or may not have been done; the revision that it stood on.
    doubt: Option<Option<Revision>>,
    /// The names that were last asked for under this lock.
    asked: Option<StandbyNames>,
    force: Option<InForce>,
    names_failed: u32,
    names_again: Tick,
    missing: BTreeMap<MemberName, Tick>,
    /// What each standby had confirmed when that last changed.
    moved: BTreeMap<MemberName, (Lsn, Tick)>,
    waits_since: Option<Tick>,
    /// The key as it was before this member settled its own succession.
    former: Option<SyncState>,
    /// What was known when nothing wanted changing and nobody was waited for.
    rest: Option<Basis>,
    /// Standbys are given some time to connect to a new leader before the quorum is changed.
    patient_until: Option<Tick>,
    /// This member asks to be released from sync duty, until this moment at the latest.
    pub leaving: Option<Tick>,
}

impl Ha {
    pub(super) fn synchronous_turn(&mut self) {
        if self.lock().is_none() || self.op.is_some() || !self.is_writable() || self.sync_busy() || !self.key_is_known()
        {
            return;
        }
        if !self.settings.is_sync() {
            return self.synchronous_off();
        }
        self.look_in(REST);
        if self.sync.rest.as_ref().is_some_and(|basis| basis.stands(self)) {
            return;
        }
        self.sync.rest = None;
        let seen_since = self.sync.force.as_ref().map_or(Tick::ZERO, |f| f.since);
        if self.server.as_ref().is_none_or(|s| s.looked_at < seen_since) {
            return self.look();
        }
        let Some(standbys) = self.standbys() else { return };
        let plan = match self.settings.sync_mode {
            SyncMode::Off | SyncMode::Priority => self.priority_plan(&standbys),
            SyncMode::Quorum => self.quorum_plan(&standbys),
        };
        self.carry_out(plan, &standbys.key);
    }

    fn carry_out(&mut self, plan: Plan, key: &SyncState) {
        // What may still be on its way to the store must find another revision before we build on this one.
        let plan = match plan {
            Plan::Change(Change::Names(_)) | Plan::Wait | Plan::Rest if self.sync.doubt.is_some() => {
                let (leader, standbys) = (self.me().clone(), key.standbys.iter().cloned().collect());
                let leader = key.leader.clone().unwrap_or(leader);
                Plan::Change(Change::Key { leader, quorum: key.quorum, standbys })
            }
            other => other,
        };
        match plan {
            Plan::Change(Change::Key { leader, quorum, standbys }) => {
                let standbys = standbys.into_iter().collect();
                self.write_sync_key(SyncState { leader: Some(leader), quorum, standbys, revision: None });
            }
            Plan::Change(Change::Names(names)) => self.put_names(names, Mode::Primary),
            Plan::Wait => {
                let since = *self.sync.waits_since.get_or_insert(self.now.boot);
                let often = self.now.boot.since(since) < SOON_FOR;
                self.look_in(if often { SOON } else { REST });
            }
            Plan::Rest => {
                self.sync.waits_since = None;
                // Whoever is missing, or is given time, is so until a moment that no look brings.
                let timeless = self.sync.missing.is_empty() && self.sync.patient_until.is_none();
                self.sync.rest = timeless.then(|| Basis::now(self));
            }
        }
    }

    fn priority_plan(&self, s: &Standbys) -> Plan {
        let voters: Names = s.key.standbys.iter().cloned().collect();
        if self.weaken.has(Weakness::NamesBeforeSync) && s.names != StandbyNames::all(s.active.clone()) {
            return Plan::Change(Change::Names(StandbyNames::all(s.active.clone())));
        }
        if self.weaken.has(Weakness::SyncBeforeNames) && voters != s.active {
            return Plan::Change(Change::Key { leader: self.me().clone(), quorum: 0, standbys: s.active.clone() });
        }
        priority::next(&priority::Standing {
            me: self.me().clone(),
            leader: s.key.leader.clone(),
            quorum: s.key.quorum,
            voters,
            names: s.names.clone(),
            in_force: s.in_force,
            confirmed: s.ready.clone(),
            active: s.active.clone(),
            present: s.present.clone(),
            unwilling: s.unwilling.clone(),
            strict: self.settings.sync_strict,
        })
    }

    fn quorum_plan(&mut self, s: &Standbys) -> Plan {
        let me = self.me().clone();
        let Some(leader) = s.key.leader.clone() else {
            return Plan::Change(Change::Key { leader: me, quorum: 0, standbys: Names::new() });
        };
        let (number, sync) = as_quorum(&s.names);
        if let Some(until) = self.sync.patient_until {
            let complete = sync.iter().all(|name| s.replicas.iter().any(|r| r.name == *name));
            if self.now.boot < until && !complete {
                self.timers.set_earlier(Timer::Retry, until);
                return Plan::Wait;
            }
            self.sync.patient_until = None;
        }
        if !s.in_force {
            return Plan::Change(Change::Names(self.quorum_names(number, sync)));
        }
        if s.names.kind == Kind::Priority && s.names.names_members() {
            return Plan::Change(Change::Names(StandbyNames::any(number, sync)));
        }
        // Strict: commits wait for the return of those who have everything.
        let voters: Names = s.key.standbys.iter().cloned().collect();
        let held = self.settings.sync_strict && s.active.is_empty() && voters.is_disjoint(&s.unwilling);
        if held && !voters.is_empty() && leader == me {
            return Plan::Wait;
        }
        let ready: Names = s.ready.intersection(&s.active).cloned().collect();
        let state = quorum::State {
            leader,
            quorum: s.key.quorum,
            voters,
            number,
            sync,
            confirmed: u32::try_from(ready.len()).unwrap_or(u32::MAX),
            active: s.active.clone(),
            wanted: self.settings.sync_node_count.max(1),
            me,
        };
        match quorum::next(&state, &ready) {
            Plan::Change(Change::Names(names)) => {
                Plan::Change(Change::Names(self.quorum_names(names.number, names.names)))
            }
            Plan::Rest if s.names != self.quorum_names(state.number, state.sync.clone()) => {
                Plan::Change(Change::Names(self.quorum_names(state.number, state.sync)))
            }
            other => other,
        }
    }

    /// Strict: with nobody to wait for, commits wait for whoever comes.
    fn quorum_names(&self, number: u32, names: Names) -> StandbyNames {
        match StandbyNames::any(number, names) {
            nobody if nobody == StandbyNames::off() && self.settings.sync_strict => StandbyNames::held(Kind::Quorum),
            names => names,
        }
    }

    /// The mode is off (ha-rules 11.5): first nobody is a successor by right, then nobody is waited for.
    /// A standby cluster has no synchronous standbys, and what the key says of the time before must not bind the next
    /// election after it.
    pub(super) fn forget_sync_key(&mut self) {
        if self.lock().is_some() && self.op.is_none() && !self.sync_busy() && self.key_is_known() {
            self.synchronous_off();
        }
    }

    fn synchronous_off(&mut self) {
        let key = self.sync_key();
        self.sync.missing.clear();
        self.sync.waits_since = None;
        if key.leader.is_some() || !key.standbys.is_empty() {
            return self.delete_sync_key(&key);
        }
        if self.sync.asked.take().is_some() {
            self.sync.force = None;
            // The files are written again, with the user's own names.
            self.configured = None;
        }
    }

    /// Another lock, or none: what was asked for under the last one is over.
    pub(super) fn sync_lock_ended(&mut self) {
        self.sync.asked = None;
        self.sync.force = None;
        self.sync.doubt = None;
        self.sync.read_after = None;
        self.sync.names_failed = 0;
        self.sync.patient_until = None;
        self.sync.rest = None;
        self.sync.former = None;
        self.sync.missing.clear();
        self.sync.moved.clear();
        self.sync.waits_since = None;
    }

    fn sync_busy(&self) -> bool {
        self.inflight.values().any(|f| matches!(f.purpose, Purpose::SyncKey { .. } | Purpose::SyncNames(_)))
    }
}
