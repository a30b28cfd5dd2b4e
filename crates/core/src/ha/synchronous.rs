//! The leader's part in the synchronous modes (ha-rules 11, 12): it keeps `synchronous_standby_names` of its server and
//! the `sync` key of the store so that whoever may succeed has every acknowledged commit.
//!
//! What is changed next is said by [`crate::sync`], one change at a time, each from what then stands. This file knows
//! what that stands on:
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

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::{Ha, NoteLevel, Purpose, SHORT};
use super::op::{Stand, Step};
use super::server::Row;
use super::timer::Timer;
use super::{Act, Lane, Mode, Outcome, Setup, Yield};
use crate::sync::quorum::{as_quorum, before_promotion};
use crate::sync::replicas::{Wanted, choose, replicas};
use crate::sync::{Change, Kind, Names, Plan, Replica, StandbyNames, priority, quorum};
use crate::view::{Cluster, Condition, Key, Revision, SyncMode, SyncState, Write, Written};
use crate::{Lsn, MemberName, Tick, Wall, Weakness};

/// How often the leader looks at its walsenders at rest: a lost standby holds up commits until it is noticed.
const REST: Duration = Duration::from_secs(1);
/// How often while a standby is waited for, and for how long so often.
const SOON: Duration = Duration::from_millis(50);
const SOON_FOR: Duration = Duration::from_secs(3);
/// A standby whose connection is away for less than this is not given up: it may only connect anew.
const GRACE: Duration = Duration::from_millis(900);
/// How long it may take until every process of the server works by other names. A checkpointer that waits for a slow
/// disk takes them late, and until then commits wait for nobody.
const NAMES: Duration = Duration::from_secs(10);
const NAMES_AGAIN: Duration = Duration::from_secs(1);
/// Revisions of the key that our own writes have replaced: as many as a late view could still show.
const SUPERSEDED_MAX: usize = 16;

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
    /// Standbys are given some time to connect to a new leader before the quorum is changed.
    patient_until: Option<Tick>,
    /// This member asks to be released from sync duty, until this moment at the latest.
    pub leaving: Option<Tick>,
}

/// The key as we last wrote it.
#[derive(Clone, Debug)]
struct OwnKey {
    state: SyncState,
    superseded: Vec<Option<Revision>>,
}

/// Names by which every process of the server works.
#[derive(Clone, Debug)]
struct InForce {
    text: String,
    since: Tick,
    /// The server on which they are.
    started: Option<Wall>,
    /// Where the primary was at the first look that showed them.
    base: Option<Lsn>,
    /// Who has caught up with that.
    ready: Names,
}

/// What a new leader needs before it is promoted.
struct Succession {
    key: Option<SyncState>,
    names: Option<StandbyNames>,
}

/// The leader's view of its standbys.
struct Standbys {
    replicas: Vec<Replica>,
    names: StandbyNames,
    key: SyncState,
    in_force: bool,
    ready: Names,
    present: Names,
    active: Names,
    unwilling: Names,
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
            Plan::Rest => self.sync.waits_since = None,
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
        if s.names.kind == Kind::Priority && !s.names.star {
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

    /// Strict: with nobody to wait for, commits wait for anybody.
    fn quorum_names(&self, number: u32, names: Names) -> StandbyNames {
        match StandbyNames::any(number, names) {
            nobody if nobody == StandbyNames::off() && self.settings.sync_strict => {
                StandbyNames::somebody(Kind::Quorum)
            }
            names => names,
        }
    }

    /// The mode is off (ha-rules 11.5): first nobody is a successor by right, then nobody is waited for.
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

    // ---- what stands

    fn standbys(&mut self) -> Option<Standbys> {
        let row = self.row()?.clone();
        let cluster = self.cluster()?.clone();
        let key = self.sync_key();
        let mut known: Names = key.standbys.iter().cloned().collect();
        let shown = StandbyNames::parse(&row.synchronous_standby_names).unwrap_or_default();
        let names = shown.spelled_like(cluster.members.keys().chain(known.iter()));
        known.extend(names.names.iter().cloned());
        let known_here = self.moving(&known, &row);
        let replicas = replicas(&cluster, self.me(), &row, &known_here);
        self.learn(&row, &names, &replicas);
        let streaming: Names = replicas.iter().map(|r| r.name.clone()).collect();
        let unwilling: Names = known.iter().filter(|name| refuses(&cluster, name)).cloned().collect();
        // Whoever wants to go, and is still there, is waited for until others have caught up.
        let streams = |name: &&MemberName| {
            row.replication.iter().any(|s| s.state == "streaming" && name.matches(&s.application_name))
        };
        let connected: Names = unwilling.iter().filter(streams).cloned().collect();
        let returning = self.returning(&known, &streaming, &unwilling);
        let wanted = Wanted {
            count: usize::try_from(self.settings.sync_node_count.max(1)).unwrap_or(usize::MAX),
            maximum_lag: self.settings.maximum_lag_on_syncnode,
            quorum: self.settings.sync_mode == SyncMode::Quorum,
        };
        let mut active = choose(&replicas, row.flushed, wanted);
        for name in key.standbys.iter().filter(|name| returning.contains(*name)) {
            if wanted.quorum || active.len() < wanted.count {
                active.insert(name.clone());
            }
        }
        let force = self.sync.force.as_ref().filter(|f| f.base.is_some());
        Some(Standbys {
            in_force: force.is_some(),
            ready: force.map(|f| f.ready.clone()).unwrap_or_default(),
            present: &(&streaming | &returning) | &connected,
            replicas,
            names,
            key,
            active,
            unwilling,
        })
    }

    /// Those of the standbys that still answer: they have everything, or have confirmed more lately. The connection of
    /// a host that is gone stands for a long time, and its member key goes first; a store that has lost the keys of
    /// everybody is no reason to stop waiting for standbys that are there.
    fn moving(&mut self, known: &Names, row: &Row) -> Names {
        let now = self.now.boot;
        self.sync.moved.retain(|name, _| known.contains(name));
        let moved = &mut self.sync.moved;
        let moves = |name: &&MemberName| {
            let confirmed = row.replication.iter().filter(|s| name.matches(&s.application_name)).map(|s| s.flush).max();
            let Some(confirmed) = confirmed else { return false };
            let last = moved.entry((*name).clone()).or_insert((confirmed, now));
            if last.0 != confirmed || confirmed >= row.flushed {
                *last = (confirmed, now);
            }
            now.since(last.1) < GRACE * 2
        };
        known.iter().filter(moves).cloned().collect()
    }

    /// Those whose connection has been away for a moment only.
    fn returning(&mut self, known: &Names, streaming: &Names, unwilling: &Names) -> Names {
        let now = self.now.boot;
        let away: Names = &(known - streaming) - unwilling;
        self.sync.missing.retain(|name, _| away.contains(name));
        let missing = &mut self.sync.missing;
        let recent = |name: &&MemberName| now.since(*missing.entry((*name).clone()).or_insert(now)) < GRACE;
        away.iter().filter(recent).cloned().collect()
    }

    /// Takes from a look who works by which names, and who has caught up.
    fn learn(&mut self, row: &Row, names: &StandbyNames, replicas: &[Replica]) {
        let Some(force) = &mut self.sync.force else { return };
        let started = *force.started.get_or_insert(row.postmaster_start);
        if force.text != row.synchronous_standby_names || started != row.postmaster_start {
            self.sync.force = None;
            return;
        }
        if force.base.is_none() && walsenders_work_by(row, names) {
            force.base = Some(row.flushed);
        }
        let Some(base) = force.base else { return };
        let word = if names.kind == Kind::Quorum { "quorum" } else { "sync" };
        let caught_up = |r: &&Replica| names.lists(&r.name) && r.lsn >= base && r.sync_state == word;
        force.ready.extend(replicas.iter().filter(caught_up).map(|r| r.name.clone()));
    }

    // ---- the key

    /// The key as it stands, as far as we know: our own last write counts until the view has it.
    pub(super) fn sync_key(&self) -> SyncState {
        let seen = self.cluster().map(|c| c.sync.clone()).unwrap_or_default();
        match &self.sync.own {
            Some(own) if own.superseded.contains(&seen.revision) => own.state.clone(),
            Some(_) | None => seen,
        }
    }

    fn key_is_known(&mut self) -> bool {
        let Some(after) = self.sync.read_after else { return true };
        let read = self.view.as_ref().is_some_and(|seen| seen.linearizable && seen.read_at >= after);
        if !read {
            self.load();
            return false;
        }
        self.sync.read_after = None;
        let revision = self.view.as_ref().and_then(|seen| seen.cluster.sync.revision.clone());
        if self.sync.doubt.as_ref().is_some_and(|before| *before != revision) {
            self.sync.doubt = None;
        }
        true
    }

    fn write_sync_key(&mut self, state: SyncState) {
        let before = self.sync_key();
        let write = Write::put(Key::Sync, state.to_text()).when(Condition::as_read(before.revision.as_ref()));
        if self.change_key(write, &before, state.clone()) {
            self.say_key(&before, &state);
        }
    }

    fn delete_sync_key(&mut self, before: &SyncState) {
        let write = Write::delete(Key::Sync).when(Condition::as_read(before.revision.as_ref()));
        if self.change_key(write, before, SyncState::default()) {
            self.note(NoteLevel::Info, "Disabled synchronous replication");
        }
    }

    fn change_key(&mut self, write: Write, before: &SyncState, after: SyncState) -> bool {
        let Some(lock) = self.lock().cloned() else { return false };
        let purpose = Purpose::SyncKey { before: before.revision.clone(), after: Box::new(after) };
        let act = Act::Write(write.while_leader(&lock.created));
        self.issue(Lane::Store, act, SHORT, purpose).is_some()
    }

    pub(super) fn sync_key_written(&mut self, before: Option<Revision>, after: SyncState, outcome: Outcome) {
        match outcome {
            Ok(Yield::Wrote(Written::Done { revision })) => {
                let deleted = after.leader.is_none();
                let revision = (!deleted).then_some(revision);
                let mut superseded = self.sync.own.take().map(|own| own.superseded).unwrap_or_default();
                superseded.retain(|old| *old != revision);
                superseded.push(before);
                let surplus = superseded.len().saturating_sub(SUPERSEDED_MAX);
                superseded.drain(..surplus);
                self.sync.own = Some(OwnKey { state: SyncState { revision, ..after }, superseded });
                self.sync.doubt = None;
            }
            Ok(_) => {
                self.sync.own = None;
                self.sync.read_after = Some(self.now.boot);
                self.load();
            }
            Err(_) => {
                self.sync.doubt = Some(before);
                self.sync.read_after = Some(self.now.boot);
                self.load();
            }
        }
    }

    fn say_key(&mut self, before: &SyncState, after: &SyncState) {
        let list = |state: &SyncState| {
            let names: Vec<&str> = state.standbys.iter().map(MemberName::as_str).collect();
            names.join(", ")
        };
        if before.leader.is_none() {
            return self.note(NoteLevel::Info, "Enabled synchronous replication");
        }
        if before.standbys == after.standbys && before.quorum == after.quorum {
            return;
        }
        if after.standbys.is_empty() && !self.settings.sync_strict {
            let text = format!(
                "no synchronous standby is left ({} was): commits do not wait any longer, and until one is back nobody \
                 but this member may lead",
                list(before)
            );
            return self.note(NoteLevel::Warning, text);
        }
        let text = match self.settings.sync_mode {
            SyncMode::Quorum => format!("the quorum is {} of {} ({})", after.quorum, after.standbys.len(), list(after)),
            SyncMode::Off | SyncMode::Priority => format!("Synchronous standby status assigned to {}", list(after)),
        };
        self.note(NoteLevel::Info, text);
    }

    // ---- the names

    fn sync_busy(&self) -> bool {
        self.inflight.values().any(|f| matches!(f.purpose, Purpose::SyncKey { .. } | Purpose::SyncNames(_)))
    }

    fn put_names(&mut self, names: StandbyNames, mode: Mode) {
        if self.now.boot < self.sync.names_again {
            self.timers.set_earlier(Timer::Again, self.sync.names_again);
            return;
        }
        let text = names.to_string();
        let setup = Setup {
            mode,
            dynamic: std::sync::Arc::clone(&self.dynamic),
            synchronous_standby_names: Some(text.clone()),
        };
        let limit = NAMES.min(self.settings.ttl);
        if self.issue(Lane::Server, Act::SyncNames { setup }, limit, Purpose::SyncNames(text)).is_some() {
            self.sync.asked = Some(names);
            self.sync.force = None;
        }
    }

    pub(super) fn names_put(&mut self, text: String, outcome: Outcome) {
        match outcome {
            Ok(_) => {
                let since = self.now.boot;
                let ready = Names::new();
                self.sync.force = Some(InForce { text, since, started: None, base: None, ready });
                self.sync.names_failed = 0;
                self.sync.waits_since = None;
            }
            Err(failure) => {
                self.sync.names_failed += 1;
                self.sync.names_again = self.now.boot + NAMES_AGAIN;
                let text = format!("synchronous_standby_names = '{text}' is not in force: {failure}; trying again");
                self.note(NoteLevel::Warning, text);
            }
        }
        self.look();
    }

    /// `synchronous_standby_names` for the configuration files: ours while the mode governs them.
    pub(super) fn names_for(&self, mode: &Mode) -> Option<String> {
        let sync = self.settings.is_sync();
        match mode {
            // Nobody waits on a standby; a new leader sets them before it is promoted.
            Mode::Standby { .. } => sync.then(String::new),
            Mode::Primary if self.lease.lock.is_none() => sync.then(|| self.names_in_use().to_string()),
            Mode::Primary => {
                let key = self.sync_key();
                let ours = key.leader.as_ref() == Some(self.me());
                (sync || ours).then(|| self.names_in_use().to_string())
            }
        }
    }

    /// What was last asked for; else what the server shows; else what the key says that commits wait for.
    fn names_in_use(&self) -> StandbyNames {
        if let Some(asked) = &self.sync.asked {
            return asked.clone();
        }
        let shown = self.row().filter(|row| !row.in_recovery).map(|row| row.synchronous_standby_names.as_str());
        if let Some(names) = shown.and_then(|text| StandbyNames::parse(text).ok()) {
            return names;
        }
        let key = self.sync_key();
        let standbys: Names = key.standbys.iter().cloned().collect();
        let bootstrap = self.lease.lock.is_none();
        match (self.settings.sync_mode, key.leader.as_ref() == Some(self.me())) {
            (SyncMode::Quorum, true) if !standbys.is_empty() => {
                let voters = u32::try_from(standbys.len()).unwrap_or(u32::MAX);
                StandbyNames::any(voters.saturating_sub(key.quorum), standbys)
            }
            (SyncMode::Off | SyncMode::Priority, true) if !standbys.is_empty() => StandbyNames::all(standbys),
            (_, _) if bootstrap || !self.settings.sync_strict => StandbyNames::off(),
            (_, _) => self.somebody(),
        }
    }

    fn somebody(&self) -> StandbyNames {
        match self.settings.sync_mode {
            SyncMode::Quorum => StandbyNames::somebody(Kind::Quorum),
            SyncMode::Off | SyncMode::Priority => StandbyNames::somebody(Kind::Priority),
        }
    }

    // ---- a new leader

    /// Before promotion (ha-rules 11.4): who may succeed from now on, and who is waited for, is settled while nothing
    /// can be committed here yet.
    pub(super) fn succession_stands(&mut self) -> Stand {
        if self.sync_busy() || !self.key_is_known() {
            return Stand::Waiting;
        }
        let key = self.sync_key();
        let wanted = self.succession(&key);
        if let Some(state) = wanted.key {
            let same = SyncState { revision: key.revision.clone(), ..state.clone() } == key;
            if !same || self.sync.doubt.is_some() {
                if self.sync.former.is_none() {
                    self.sync.former = Some(key.clone());
                }
                match state.leader.is_some() {
                    true => self.write_sync_key(state),
                    false => self.delete_sync_key(&key),
                }
                return Stand::Waiting;
            }
        }
        let Some(names) = wanted.names else { return Stand::Over };
        let text = names.to_string();
        let shown = self.row().is_some_and(|row| row.synchronous_standby_names == text);
        let certain = self.sync.force.as_ref().is_some_and(|force| force.text == text);
        // With nobody else who may succeed nothing can be missed; then it is enough to have tried.
        let alone = key.standbys.is_empty() && key.leader.as_ref() == Some(self.me());
        if certain || (shown && names == StandbyNames::off()) || (alone && self.sync.names_failed >= 2) {
            self.sync.asked = Some(names);
            return Stand::Over;
        }
        self.put_names(names, Mode::Standby { upstream: self.upstream() });
        Stand::Waiting
    }

    fn succession(&self, key: &SyncState) -> Succession {
        let me = self.me().clone();
        let alone = SyncState { leader: Some(me.clone()), ..SyncState::default() };
        let nobody = if self.settings.sync_strict { self.somebody() } else { StandbyNames::off() };
        if !self.settings.is_sync() {
            let stale = key.leader.is_some() || !key.standbys.is_empty();
            return Succession { key: stale.then(SyncState::default), names: None };
        }
        match self.settings.sync_mode {
            SyncMode::Off | SyncMode::Priority => Succession { key: Some(alone), names: Some(nobody) },
            // Nobody can say when the server will work by the names: then nobody else may succeed.
            SyncMode::Quorum if self.sync.names_failed >= 2 => Succession { key: Some(alone), names: Some(nobody) },
            SyncMode::Quorum => {
                let voters: Names = key.standbys.iter().cloned().collect();
                let Some(leader) = &key.leader else { return Succession { key: None, names: Some(nobody) } };
                let names = before_promotion(&me, Some(leader), key.quorum, &voters).unwrap_or_default();
                let standbys = voters.iter().chain([leader]).filter(|name| **name != me).cloned();
                let standbys: Names = standbys.collect();
                let standbys = standbys.into_iter().collect();
                let state = SyncState { leader: Some(me), quorum: key.quorum, standbys, revision: None };
                Succession { key: Some(state), names: Some(names) }
            }
        }
    }

    /// This member was not promoted: nothing was committed here, and the successors of before have everything.
    pub(super) fn retract_stands(&mut self) -> Stand {
        if self.lock().is_none() {
            return Stand::Over;
        }
        if self.sync_busy() {
            return Stand::Waiting;
        }
        match self.sync.former.take() {
            Some(former) if former.leader.is_some() => {
                self.write_sync_key(former);
                Stand::Waiting
            }
            Some(_) | None => Stand::Over,
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.sync.former = None;
        self.sync.patient_until = Some(self.now.boot + self.settings.loop_wait);
    }

    /// Another lock, or none: what was asked for under the last one is over.
    pub(super) fn sync_lock_ended(&mut self) {
        self.sync.asked = None;
        self.sync.force = None;
        self.sync.doubt = None;
        self.sync.read_after = None;
        self.sync.names_failed = 0;
        self.sync.patient_until = None;
        self.sync.former = None;
        self.sync.missing.clear();
        self.sync.moved.clear();
        self.sync.waits_since = None;
    }

    // ---- a standby that wants to go

    /// Whether commits of the leader may wait for us (ha-rules 11.6).
    pub(super) fn is_on_sync_duty(&self) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let led = cluster.leader.as_ref().is_some_and(|l| cluster.sync.leader.as_ref() == Some(&l.name));
        self.settings.is_sync() && self.lease.lock.is_none() && led && cluster.sync.is_standby(self.me())
    }

    /// What precedes the end of our server: a commit that waits for it would wait until it is back.
    pub(super) fn leaving_steps(&self) -> Vec<Step> {
        if self.is_on_sync_duty() && self.is_running() { vec![Step::LeaveSync] } else { Vec::new() }
    }

    /// Asks to be released, until it is so or too much time has passed: then commits wait for our return.
    pub(super) fn release_stands(&mut self) -> Stand {
        let limit = self.settings.loop_wait * 2;
        let leaving = &mut self.sync.leaving;
        let until = *leaving.get_or_insert(self.now.boot + limit);
        if self.is_on_sync_duty() && self.now.boot < until {
            self.timers.set_earlier(Timer::Retry, until);
            return Stand::Waiting;
        }
        Stand::Over
    }
}

fn refuses(cluster: &Cluster, name: &MemberName) -> bool {
    cluster.members.get(name).is_some_and(|m| m.data.tags().nosync())
}

/// Every walsender that has heard of its standby works by these names.
fn walsenders_work_by(row: &Row, names: &StandbyNames) -> bool {
    let named = |application_name: &str| names.star || names.names.iter().any(|n| n.matches(application_name));
    row.replication
        .iter()
        .filter(|sender| sender.flush.is_valid())
        .all(|sender| (sender.sync_priority > 0) == named(&sender.application_name))
}
