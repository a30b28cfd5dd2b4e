//! Permanent logical slots: created on the primary, copied to the replicas, advanced there (ha-rules 14.4 to 14.6).
//!
//! Hazard: a replica's copy decodes with the catalog as it is on the replica. Until the primary's physical slot for
//! this replica holds back what the copy needs, vacuum on the primary may remove rows of the catalog, and a reader that
//! goes on after a failover gets wrong answers or none. A copy therefore counts as ready only when
//! the primary's catalog_xmin of the slot at the time of copying <= its catalog_xmin of our physical slot <= ours of the
//! copy; whoever is promoted before says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::CAN_ADVANCE;
use super::permanent::Permanent;
use super::plan::Want;
use crate::ha::flight::{Purpose, SHORT};
use crate::ha::machine::Ha;
use crate::ha::op::{Kind, Op, Starting, Step};
use crate::ha::server::Row;
use crate::ha::{Act, Action, Lane, LogicalPlan, LogicalSlot, Mode, NoteLevel, Outcome, Upstream, Yield};
use crate::view::Revision;
use crate::{Lsn, SlotName, Tick};

/// Creating waits for every transaction that runs, advancing decodes all WAL between: both may take this long.
const WORK: Duration = Duration::from_secs(600);
/// The longest pause between copies that bring nothing.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What is known of the logical slots here.
#[derive(Clone, Debug, Default)]
pub(in crate::ha) struct Logical {
    /// The configuration whose mistakes have been named.
    pub(super) named_for: Option<Option<Revision>>,
    /// By what was last seen of the server: it knows no slots that can be advanced.
    too_old: bool,
    /// Work is planned again only on a look that saw the last one carried out.
    changed_at: Tick,
    /// No work and no question before this.
    rests_until: Tick,
    asked_at: Tick,
    /// Copies that may be used after a failover.
    ready: BTreeSet<SlotName>,
    /// Others, with the leader's catalog_xmin when the copy was made (or first asked for).
    unready: BTreeMap<SlotName, Option<u32>>,
    /// The WAL that they need is gone here.
    lost: BTreeSet<SlotName>,
    /// Those that a leader before us had.
    elsewhere: BTreeSet<SlotName>,
    /// Copies made in a row without one becoming ready, and when the next may be made.
    copies: u32,
    copy_at: Tick,
    /// Why the last try left slots out: said once.
    left_out: String,
}

impl Ha {
    pub(super) fn logical_turn(&mut self, row: &Row, wanted: &BTreeMap<SlotName, Want>) {
        self.logical.too_old = row.server_version < CAN_ADVANCE;
        if !row.in_recovery {
            self.logical.ready.clear();
            self.logical.unready.clear();
            self.logical.lost.clear();
            return self.create_logical(row, wanted);
        }
        self.tell_ready_from_new(row, wanted);
        self.ask_horizon();
        if self.fetch_logical(row, wanted) {
            return;
        }
        self.advance_logical(row, wanted);
    }

    /// The primary has every logical slot that is wanted.
    fn create_logical(&mut self, row: &Row, wanted: &BTreeMap<SlotName, Want>) {
        let missing = wanted.iter().filter(|(name, _)| !row.slots.contains_key(*name));
        let create: Vec<LogicalSlot> = missing
            .filter_map(|(name, want)| match want {
                Want::Physical { .. } => None,
                Want::Logical { database, plugin, .. } => {
                    Some(LogicalSlot { name: name.clone(), database: database.clone(), plugin: plugin.clone() })
                }
            })
            .collect();
        if self.lock().is_none() && !self.paused() {
            return;
        }
        let anew = create.iter().filter(|slot| self.logical.elsewhere.contains(&slot.name));
        let anew: Vec<&str> = anew.map(|slot| slot.name.as_str()).collect();
        let warning = (!anew.is_empty()).then(|| {
            format!(
                "these logical slots were lost and begin anew where the log ends now: {}; their readers are told nothing of \
                 what was written since they last read",
                anew.join(", ")
            )
        });
        if self.work_on_logical(LogicalPlan { create, advance: Vec::new() })
            && let Some(warning) = warning
        {
            self.note(NoteLevel::Warning, warning);
            self.logical.elsewhere.clear();
        }
    }

    /// A replica's slots follow the leader's as far as replay has come.
    fn advance_logical(&mut self, row: &Row, wanted: &BTreeMap<SlotName, Want>) {
        let advance = wanted.iter().filter_map(|(name, want)| {
            let Want::Logical { database, target: Some(target), .. } = want else { return None };
            let slot = row.slots.get(name).filter(|slot| want.is_met_by(slot) && !slot.active && !slot.lost)?;
            let to = (*target).min(row.replayed);
            let behind = slot.confirmed_flush.is_some_and(|at| at < to) && !self.logical.lost.contains(name);
            behind.then(|| (name.clone(), database.clone(), to))
        });
        let advance: Vec<(SlotName, String, Lsn)> = advance.collect();
        self.work_on_logical(LogicalPlan { create: Vec::new(), advance });
    }

    fn work_on_logical(&mut self, plan: LogicalPlan) -> bool {
        let seen = self.server.as_ref().is_some_and(|s| s.looked_at > self.logical.changed_at);
        if plan.is_empty() || !seen || self.now.boot < self.logical.rests_until {
            return false;
        }
        self.issue(Lane::Slots, Act::LogicalSlots { plan }, WORK, Purpose::LogicalSlots).is_some()
    }

    pub(in crate::ha) fn logical_worked(&mut self, outcome: Outcome) {
        self.logical.changed_at = self.now.boot;
        self.logical.rests_until = self.now.boot + self.settings.loop_wait;
        match outcome {
            Ok(Yield::LogicalSlots { lost }) => {
                for name in lost {
                    self.logical.ready.remove(&name);
                    self.logical.lost.insert(name);
                }
            }
            Ok(_) => {}
            Err(failure) => {
                self.note(NoteLevel::Warning, format!("logical slots could not be kept in order: {failure}"));
            }
        }
        self.look_in(SHORT);
    }

    // ---- ready or not

    /// What is here without having been seen to be safe in this run may be an old copy.
    fn tell_ready_from_new(&mut self, row: &Row, wanted: &BTreeMap<SlotName, Want>) {
        let here = |name: &SlotName| {
            row.slots.get(name).is_some_and(|slot| wanted.get(name).is_some_and(|want| want.is_met_by(slot)))
        };
        let theirs = wanted.iter().filter(|(_, want)| matches!(want, Want::Logical { target: Some(_), .. }));
        let logical = &mut self.logical;
        logical.elsewhere.extend(theirs.map(|(name, _)| name.clone()));
        logical.elsewhere.retain(|name| wanted.contains_key(name));
        logical.ready.retain(|name| here(name));
        logical.unready.retain(|name, _| here(name));
        let new = wanted.iter().filter(|(_, want)| matches!(want, Want::Logical { .. })).map(|(name, _)| name);
        for name in new.filter(|name| here(name) && !logical.ready.contains(*name)) {
            logical.unready.entry(name.clone()).or_insert(None);
        }
    }

    fn ask_horizon(&mut self) {
        let due = self.logical.asked_at + self.settings.loop_wait;
        if self.logical.unready.is_empty() || (self.now.boot < due && self.logical.asked_at != Tick::ZERO) {
            return;
        }
        let Some(from) = self.leader_upstream() else { return };
        let mut slots: Vec<SlotName> = self.logical.unready.keys().cloned().collect();
        slots.push(self.me().slot());
        if self.issue(Lane::Slots, Act::AskHorizon { from, slots }, SHORT, Purpose::Horizon).is_some() {
            self.logical.asked_at = self.now.boot;
        }
    }

    pub(in crate::ha) fn horizon_told(&mut self, outcome: Outcome) {
        let Ok(Yield::Horizon(horizon)) = outcome else { return };
        let physical = horizon.get(&self.me().slot()).copied();
        let Some(row) = self.row().cloned() else { return };
        let mut ready = Vec::new();
        for (name, at_copy) in &mut self.logical.unready {
            *at_copy = at_copy.or_else(|| horizon.get(name).copied());
            let ours = row.slots.get(name).and_then(|slot| slot.catalog_xmin);
            if let (Some(theirs), Some(physical), Some(ours)) = (*at_copy, physical, ours)
                && at_most(theirs, physical)
                && at_most(physical, ours)
            {
                ready.push(name.clone());
            }
        }
        for name in ready {
            self.logical.unready.remove(&name);
            self.note(NoteLevel::Info, format!("logical slot '{name}' can be used after a failover to this member"));
            self.logical.ready.insert(name);
            self.logical.copies = 0;
        }
    }

    /// This member was promoted: its readers ought to know which slots they must not trust.
    pub(in crate::ha) fn warn_of_unready_slots(&mut self) {
        let names: Vec<&str> = self.logical.unready.keys().map(SlotName::as_str).collect();
        if !names.is_empty() {
            let text = format!(
                "promoted before these logical slots were safe to use: {}; their readers may get wrong or no changes, \
                 and should begin anew from a copy of the tables",
                names.join(", ")
            );
            self.note(NoteLevel::Warning, text);
        }
    }

    // ---- copying

    /// Fetches what the leader has and we have not. `true`: nothing else is to be done meanwhile.
    fn fetch_logical(&mut self, row: &Row, wanted: &BTreeMap<SlotName, Want>) -> bool {
        let missing = wanted.iter().filter(|(name, want)| {
            let Want::Logical { target: Some(_), .. } = want else { return false };
            let here = row.slots.get(*name);
            let lost = self.logical.lost.contains(*name);
            let usable = here.is_some_and(|slot| want.is_met_by(slot) && !slot.lost && !lost);
            !usable && here.is_none_or(|slot| !slot.active && !self.is_foreign(name, slot))
        });
        let slots: Vec<SlotName> = missing.map(|(name, _)| name.clone()).collect();
        if slots.is_empty() || self.now.boot < self.logical.copy_at || !self.may_copy() {
            return false;
        }
        let Some(from) = self.leader_upstream() else { return false };
        let asked = self.issue(Lane::Slots, Act::FetchSlots { from, slots }, SHORT * 3, Purpose::FetchSlots).is_some();
        if asked {
            self.logical.copy_at = self.now.boot + self.settings.loop_wait;
        }
        asked
    }

    /// The server follows, and may be restarted for this.
    fn may_copy(&self) -> bool {
        let streams = self.row().is_some_and(|row| row.receiver.as_ref().is_some_and(|r| r.status == "streaming"));
        let rests = self.op.is_none() && self.now.boot >= self.failures.retry_at;
        streams && rests && !self.paused() && !self.failsafe_active() && !self.shutting_down
    }

    /// What was fetched is put in place, for which the server is restarted. Copies without one becoming ready are made at
    /// growing intervals.
    pub(in crate::ha) fn slots_fetched(&mut self, outcome: Outcome) {
        let (ready, left_out) = match outcome {
            Ok(Yield::Fetched { ready, left_out }) => (ready, left_out.join("; ")),
            Ok(_) => return,
            Err(failure) => (BTreeMap::new(), format!("the leader's logical slots could not be read: {failure}")),
        };
        if left_out != self.logical.left_out && !left_out.is_empty() {
            self.note(NoteLevel::Warning, left_out.clone());
        }
        self.logical.left_out = left_out;
        // Another effect on slots would see them change under its hands.
        if ready.is_empty() || !self.may_copy() || self.lanes.contains_key(&Lane::Sql) {
            return;
        }
        let pause = self.settings.loop_wait * 2u32.pow(self.logical.copies.min(8));
        self.logical.copies += 1;
        self.logical.copy_at = self.now.boot + pause.min(PAUSE_MAX);
        self.begin_copy(ready.keys().cloned().collect());
        for (name, catalog_xmin) in ready {
            self.logical.lost.remove(&name);
            self.logical.ready.remove(&name);
            self.logical.unready.insert(name, Some(catalog_xmin));
        }
    }

    fn begin_copy(&mut self, slots: Vec<SlotName>) {
        let names: Vec<&str> = slots.iter().map(SlotName::as_str).collect();
        let because = format!("logical slots were copied from the leader: {}", names.join(", "));
        let mut steps = self.leaving_steps();
        steps.extend(self.stopping_steps(true));
        let mode = Mode::Standby { upstream: self.upstream() };
        steps.extend([
            Step::InstallSlots(slots),
            Step::Configure(mode),
            Step::Launch(Starting::Standby),
            Step::Accept(self.start_wait()),
            Step::Callback(Action::OnRestart),
        ]);
        self.begin_op(Op::new(Kind::CopySlots, because, steps));
        self.op_advance();
    }

    /// The leader as a place to ask and to copy from.
    fn leader_upstream(&self) -> Option<Upstream> {
        let leader = self.cluster()?.leader.as_ref().map(|l| l.name.clone())?;
        if leader == *self.me() { None } else { self.upstream_of(&leader) }
    }

    // ---- feedback

    /// Whether the primary has to keep catalog rows for this standby or for those below it (ha-rules 14.6).
    pub(in crate::ha) fn needs_feedback(&self, mode: &Mode) -> bool {
        let (Mode::Standby { .. }, Some(cluster)) = (mode, self.cluster()) else { return false };
        if self.logical.too_old || !self.settings.use_slots || self.settings.standby_cluster.is_some() {
            return false;
        }
        let slots = &self.permanent.slots;
        if !slots.values().any(|slot| matches!(slot, Permanent::Logical { .. })) {
            return false;
        }
        let holds = !self.local.tags.nofailover() && !self.is_without_slot();
        holds || cluster.members.values().any(|m| !m.data.tags().nofailover() && self.is_below(&m.name))
    }

    /// Whether a member streams from this one, over any number of others.
    fn is_below(&self, name: &crate::MemberName) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let mut at = name.clone();
        for _ in 0..cluster.members.len() {
            let from = cluster.members.get(&at).and_then(|m| m.data.tags().replicatefrom().map(str::to_owned));
            match from {
                Some(from) if from == self.me().as_str() => return at != *self.me(),
                Some(from) => at = from.into(),
                None => return false,
            }
        }
        false
    }
}

/// Whether transaction `a` is not newer than `b`: identifiers go round at 2^32 (TransactionIdPrecedesOrEquals).
fn at_most(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_compared_around_the_corner() {
        for (a, b, expected) in
            [(5, 5, true), (5, 6, true), (6, 5, false), (u32::MAX - 1, 3, true), (3, u32::MAX, false)]
        {
            assert_eq!(at_most(a, b), expected, "{a} {b}");
        }
    }
}
