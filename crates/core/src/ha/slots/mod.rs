//! Replication slots: which ought to be here, how far they are, and how they come to be so (ha-rules 14).
//!
//! Physical slots are queries of milliseconds. Logical ones are not: creating one waits for the transactions that run,
//! advancing one decodes WAL, and a replica gets one only as a file that is put in place while its server is down. So
//! they have a lane and rules of their own ([`logical`]).

mod logical;
mod permanent;
mod plan;
mod retained;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use logical::Logical;
pub(super) use permanent::Configured;
use permanent::Permanent;
use plan::{Want, is_ignored, plan};
pub(super) use retained::Retained;

use super::basis::Basis;
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::server::{Row, Slot};
use super::{Act, Lane, NoteLevel};
use crate::view::Member;
use crate::{Lsn, MemberName, SlotName};

/// Slots can be advanced from this version on; before it replicas keep none for others.
const CAN_ADVANCE: u32 = 110_000;

/// The slots that ought to be on this server.
#[derive(Debug)]
pub(super) struct Wanted {
    all: BTreeMap<SlotName, Want>,
    /// Those among them that the configuration names.
    permanent: BTreeMap<SlotName, Permanent>,
    /// Members stream from this server.
    feeds: bool,
}

impl Ha {
    pub(super) fn slots_turn(&mut self) {
        if !self.settings.use_slots || self.op.is_some() || self.cluster().is_none_or(|c| c.config.is_none()) {
            return;
        }
        let promised = self.failsafe_leader_name().is_some();
        if !promised && self.slots_rest.as_ref().is_some_and(|basis| basis.stands_but_for_positions(self)) {
            return;
        }
        let Some(server) = self.server.clone() else { return };
        let Some(row) = &server.row else { return };
        self.name_wrong_slots(row);
        let wanted = self.slots_wanted(row);
        let changed = self.change_slots(row, &wanted.all);
        let logical = wanted.all.values().any(|want| matches!(want, Want::Logical { .. }));
        self.logical_turn(row, &wanted.all);
        // Logical slots have times of their own.
        self.slots_rest = (!changed && !logical && !promised).then(|| Basis::now(self));
    }

    /// `true`: there is something to change.
    fn change_slots(&mut self, row: &Row, wanted: &BTreeMap<SlotName, Want>) -> bool {
        if self.server.as_ref().is_none_or(|s| s.looked_at <= self.slots_changed_at) {
            return true;
        }
        let plan = plan(wanted, &row.slots, |name, slot| self.is_foreign(name, slot));
        if plan.is_empty() {
            return false;
        }
        if self.issue(Lane::Sql, Act::Slots { plan }, SHORT * 3, Purpose::Slots).is_some() {
            self.look_in(SHORT);
        }
        true
    }

    /// What ought to be on this server; the status key and the slots themselves both ask for it.
    fn slots_wanted(&mut self, row: &Row) -> Arc<Wanted> {
        let feeds = self.feeds_members(row);
        let promised = self.failsafe_leader_name().is_some();
        let stands =
            |made: &&(Basis, Arc<Wanted>)| made.1.feeds == feeds && !promised && made.0.stands_but_for_positions(self);
        if let Some((_, wanted)) = self.slots_made.as_ref().filter(stands) {
            return wanted.clone();
        }
        let permanent = self.permanent_slots(row);
        let wanted = Arc::new(Wanted { all: self.wanted_slots(row, &permanent), permanent, feeds });
        self.slots_made = Some((Basis::now(self), wanted.clone()));
        wanted
    }

    /// Every slot that ought to be on this server.
    fn wanted_slots(&self, row: &Row, permanent: &BTreeMap<SlotName, Permanent>) -> BTreeMap<SlotName, Want> {
        let mut wanted = self.member_slots(row);
        for (name, slot) in permanent {
            match slot {
                Permanent::Physical { .. } if *name == self.me().slot() => {}
                Permanent::Physical { .. } => {
                    let active = self.feeds_members(row) && !self.cascades(name);
                    let target = self.leaders_position(name).max(self.cascading_position(name));
                    let here = wanted.entry(name.clone()).or_insert(Want::Physical { active, target });
                    if let Want::Physical { active: expected, .. } = here {
                        *expected |= active;
                    }
                }
                Permanent::Logical { database, plugin } => {
                    let target = self.leaders_position(name);
                    let (database, plugin) = (database.clone(), plugin.clone());
                    wanted.entry(name.clone()).or_insert(Want::Logical { database, plugin, target });
                }
            }
        }
        wanted
    }

    /// Whether members stream from this server that name no other: the primary's, or a standby leader's.
    fn feeds_members(&self, row: &Row) -> bool {
        !row.in_recovery || self.leads_standby_cluster()
    }

    fn member_slots(&self, row: &Row) -> BTreeMap<SlotName, Want> {
        let primary = self.feeds_members(row);
        let can_advance = row.server_version >= CAN_ADVANCE;
        let keeps_all = can_advance && !self.settings.member_slots_ttl.is_zero();
        let mine = self.me().slot();
        let mut wanted = BTreeMap::new();
        for member in self.slot_members() {
            let slot = member.name.slot();
            let active = self.streams_here(member, primary);
            let ours = member.data.tags().replicatefrom() == Some(self.me().as_str());
            let kept = keeps_all && (ours || !self.local.tags.nofailover());
            if slot != mine && (active || kept) {
                let target = self.leaders_position(&slot).max(self.member_position(member));
                wanted.insert(slot, Want::Physical { active, target });
            }
        }
        if can_advance && !self.local.tags.nofailover() {
            let retained = self.cluster().and_then(|c| c.status.retain_slots.as_ref()).into_iter().flatten();
            for slot in retained.filter(|s| **s != mine) {
                if !wanted.contains_key(slot) {
                    let target = self.leaders_position(slot);
                    wanted.insert(slot.clone(), Want::Physical { active: false, target });
                }
            }
        }
        wanted
    }

    /// The permanent slots that this server may have.
    fn permanent_slots(&self, row: &Row) -> BTreeMap<SlotName, Permanent> {
        if !self.settings.use_slots || self.local.tags.nofailover() {
            return BTreeMap::new();
        }
        let standby_cluster = self.settings.standby_cluster.is_some();
        let can_advance = row.server_version >= CAN_ADVANCE;
        let logical = can_advance && !standby_cluster && !self.is_without_slot();
        let physical = can_advance || self.feeds_members(row);
        if self.permanent.slots.is_empty() {
            return BTreeMap::new();
        }
        let mut slots = self.permanent.slots.clone();
        let members = self.member_slots(row);
        slots.retain(|name, slot| match slot {
            Permanent::Physical { only_standby } => physical && only_standby.is_none_or(|only| only == standby_cluster),
            Permanent::Logical { .. } => logical && !members.contains_key(name) && *name != self.me().slot(),
        });
        slots
    }

    /// Says once for each configuration what is wrong with its permanent slots.
    fn name_wrong_slots(&mut self, row: &Row) {
        if self.logical.named_for.as_ref() == Some(&self.dynamic_saved) {
            return;
        }
        self.logical.named_for = Some(self.dynamic_saved.clone());
        let permanent::Configured { slots, mut wrong } = (*self.permanent).clone();
        let members = self.member_slots(row);
        let logical = slots.iter().filter(|(_, slot)| matches!(slot, Permanent::Logical { .. }));
        for (name, _) in logical.filter(|(name, _)| members.contains_key(*name) || **name == self.me().slot()) {
            wrong.push(format!("permanent logical slot '{name}' is left out: the name is that of a member's slot"));
        }
        for text in wrong {
            self.note(NoteLevel::Error, text);
        }
    }

    /// Where the leader has a slot, by the store or, while that is silent, by what it says itself.
    fn leaders_position(&self, slot: &SlotName) -> Option<Lsn> {
        self.cluster().and_then(|c| c.slot_position(slot)).max(self.failsafe_slot_position(slot))
    }

    /// How far a member has come whose slot the leader does not publish.
    fn member_position(&self, member: &Member) -> Option<Lsn> {
        let leader = self.cluster().and_then(|c| c.leader_member());
        let publishes = leader.is_some_and(|leader| leader.data.publishes_all_slots());
        let cascades = member.data.tags().replicatefrom().is_some();
        if cascades || !publishes { member.data.xlog_location() } else { None }
    }

    fn cascading_member(&self, slot: &SlotName) -> Option<&Member> {
        let members = self.cluster().into_iter().flat_map(|c| c.members.values());
        members.into_iter().find(|m| m.name.slot() == *slot && m.data.tags().replicatefrom().is_some())
    }

    fn cascades(&self, slot: &SlotName) -> bool {
        self.cascading_member(slot).is_some()
    }

    fn cascading_position(&self, slot: &SlotName) -> Option<Lsn> {
        self.cascading_member(slot)?.data.xlog_location()
    }

    /// Members whose slots concern us: not ourselves, not those that do not stream.
    fn slot_members(&self) -> impl Iterator<Item = &Member> {
        let members = self.cluster().into_iter().flat_map(|c| c.members.values());
        members.filter(|m| m.name != *self.me() && !m.data.tags().nostream())
    }

    /// Whether the member is expected to stream from this server.
    fn streams_here(&self, member: &Member, primary: bool) -> bool {
        let from = member.data.tags().replicatefrom().map(MemberName::from);
        let known = from.as_ref().is_some_and(|f| self.cluster().is_some_and(|c| c.members.contains_key(f)));
        match from {
            Some(from) if from == *self.me() => primary || !self.cluster().is_some_and(|c| c.is_leader(&member.name)),
            Some(_) if known => false,
            Some(_) | None => primary,
        }
    }

    /// Whether nothing on the primary holds what this server needs for logical decoding: it, or one that it streams
    /// from, does not stream by a slot.
    fn is_without_slot(&self) -> bool {
        if self.local.tags.nostream() {
            return true;
        }
        let Some(cluster) = self.cluster() else { return false };
        let mut above = self.local.tags.replicatefrom().map(MemberName::from);
        // A chain is no longer than the herd; a ring ends here, too.
        for _ in 0..cluster.members.len() {
            let Some(member) = above.as_ref().and_then(|name| cluster.members.get(name)) else { return false };
            if member.data.tags().nostream() {
                return true;
            }
            above = member.data.tags().replicatefrom().map(MemberName::from);
        }
        false
    }

    /// Slots that the user told us to leave alone; in pause all are.
    fn is_foreign(&self, name: &SlotName, slot: &Slot) -> bool {
        self.paused() || is_ignored(&self.dynamic, name, slot)
    }
}
