//! Member slots: which physical slots ought to be here, and how far (ha-rules 14).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::basis::Basis;
use super::flight::{Purpose, SHORT};
use super::machine::Ha;
use super::server::{Row, Slot};
use super::{Act, Lane, SlotPlan};
use crate::view::Member;
use crate::{Lsn, MemberName, SlotName, Tick};

/// Since when the leader has kept the slot of a member, for `retain_slots` (dcs-layout 2.4).
#[derive(Clone, Debug, Default)]
pub(super) struct Retained(BTreeMap<SlotName, Tick>);

/// Slots can be advanced from this version on; before it replicas keep none for others.
const CAN_ADVANCE: u32 = 110_000;

impl Ha {
    pub(super) fn slots_turn(&mut self) {
        if !self.settings.use_slots || self.op.is_some() || self.cluster().is_none_or(|c| c.config.is_none()) {
            return;
        }
        if self.server.as_ref().is_none_or(|s| s.looked_at <= self.slots_changed_at) {
            return;
        }
        let promised = self.failsafe_leader_name().is_some();
        if !promised && self.slots_rest.as_ref().is_some_and(|basis| basis.stands(self)) {
            return;
        }
        let Some(plan) = self.row().map(|row| self.slot_plan(row)) else { return };
        if plan.is_empty() {
            self.slots_rest = (!promised).then(|| Basis::now(self));
            return;
        }
        if self.issue(Lane::Sql, Act::Slots { plan }, SHORT * 3, Purpose::Slots).is_some() {
            self.look_in(SHORT);
        }
    }

    fn slot_plan(&self, row: &Row) -> SlotPlan {
        let primary = !row.in_recovery;
        let mut wanted: BTreeMap<SlotName, Want> = BTreeMap::new();
        for member in self.slot_members() {
            let here = self.streams_here(member, primary);
            if here || (row.server_version >= CAN_ADVANCE && !self.settings.member_slots_ttl.is_zero()) {
                let target = self.leaders_position(&member.name.slot());
                wanted.insert(member.name.slot(), Want { active: here, target });
            }
        }
        if row.server_version >= CAN_ADVANCE && !self.local.tags.nofailover() {
            let retained = self.cluster().and_then(|c| c.status.retain_slots.as_ref()).into_iter().flatten();
            let mine = self.me().slot();
            for slot in retained.filter(|s| **s != mine) {
                let target = self.leaders_position(slot);
                wanted.entry(slot.clone()).or_insert(Want { active: false, target });
            }
        }
        plan(&wanted, &row.slots, |name, slot| self.is_foreign(name, slot))
    }

    /// Where the leader has a slot, by the store or, while that is silent, by what it says itself.
    fn leaders_position(&self, slot: &SlotName) -> Option<Lsn> {
        self.cluster().and_then(|c| c.slot_position(slot)).max(self.failsafe_slot_position(slot))
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
            Some(from) if from == *self.me() => true,
            Some(_) if known => false,
            Some(_) | None => primary,
        }
    }

    /// Permanent slots and those that the user told us to ignore are not ours to drop.
    fn is_foreign(&self, name: &SlotName, slot: &Slot) -> bool {
        let permanent = ["permanent_replication_slots", "permanent_slots", "slots"]
            .iter()
            .filter_map(|key| self.dynamic.get(key)?.as_object())
            .any(|slots| slots.contains_key(name.as_str()));
        let ignored = self.dynamic.get("ignore_slots").and_then(Value::as_array);
        permanent || self.paused() || ignored.is_some_and(|list| list.iter().any(|m| matches_slot(m, name, slot)))
    }

    /// `slots` and `retain_slots` of the status key, as the leader publishes them.
    pub(super) fn status_slots(&mut self, row: &Row) -> (Option<BTreeMap<SlotName, Lsn>>, Option<Vec<SlotName>>) {
        if row.server_version < CAN_ADVANCE || self.settings.member_slots_ttl.is_zero() {
            return (None, None);
        }
        let position = |slot: &Slot| if slot.logical { slot.confirmed_flush } else { slot.restart };
        let mut slots: BTreeMap<SlotName, Lsn> =
            row.slots.iter().filter_map(|(name, slot)| Some((name.clone(), position(slot)?))).collect();
        slots.insert(self.me().slot(), row.position());
        let now = self.now.boot;
        let present: BTreeSet<SlotName> = {
            let members = self.cluster().into_iter().flat_map(|c| c.members.values());
            members.filter(|m| !m.data.tags().nostream()).map(|m| m.name.slot()).collect()
        };
        if self.retained.0.is_empty() {
            let before = self.cluster().and_then(|c| c.status.retain_slots.clone()).unwrap_or_default();
            self.retained.0.extend(before.into_iter().map(|slot| (slot, now)));
        }
        for slot in present.iter().filter(|s| slots.contains_key(*s)) {
            self.retained.0.insert(slot.clone(), now);
        }
        let ttl = self.settings.member_slots_ttl;
        self.retained.0.retain(|_, since| now.since(*since) < ttl);
        let retain: Vec<SlotName> = self.retained.0.keys().cloned().collect();
        (Some(slots), (!retain.is_empty()).then_some(retain))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Want {
    /// Somebody streams from it here.
    active: bool,
    /// How far the leader says it is.
    target: Option<Lsn>,
}

fn plan(
    wanted: &BTreeMap<SlotName, Want>,
    have: &BTreeMap<SlotName, Slot>,
    foreign: impl Fn(&SlotName, &Slot) -> bool,
) -> SlotPlan {
    let mut plan = SlotPlan::default();
    for (name, slot) in have {
        let unwanted = !wanted.contains_key(name) || slot.logical || slot.lost;
        // What holds xmin back on a slot that nobody uses here would stop vacuum for ever.
        let idle_xmin = wanted.get(name).is_some_and(|w| !w.active) && slot.xmin;
        if (unwanted || idle_xmin) && !slot.active && !foreign(name, slot) {
            plan.drop.push(name.clone());
        }
    }
    for (name, want) in wanted {
        match have.get(name) {
            None => plan.create.push(name.clone()),
            Some(slot) if !want.active && !slot.xmin && !slot.logical => {
                if let (Some(target), Some(at)) = (want.target, slot.restart)
                    && target > at
                {
                    plan.advance.push((name.clone(), target));
                }
            }
            Some(_) => {}
        }
    }
    plan
}

/// An `ignore_slots` entry: every key that it gives must be equal.
fn matches_slot(matcher: &Value, name: &SlotName, slot: &Slot) -> bool {
    let Some(matcher) = matcher.as_object() else { return false };
    let kind = if slot.logical { "logical" } else { "physical" };
    let equal = |key: &str, value: Option<&str>| {
        matcher.get(key).and_then(Value::as_str).is_none_or(|wanted| Some(wanted) == value)
    };
    equal("name", Some(name.as_str()))
        && equal("type", Some(kind))
        && equal("database", slot.database.as_deref())
        && equal("plugin", slot.plugin.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dropped_created_and_advanced() {
        let name = |n: &str| SlotName(n.into());
        let slot = |restart, active| Slot { restart: Some(Lsn(restart)), active, ..Slot::default() };
        let have = BTreeMap::from([
            (name("gone"), slot(5, false)),
            (name("gone_but_used"), slot(5, true)),
            (name("mine_to_keep"), slot(5, false)),
            (name("idle"), slot(5, false)),
            (name("lost"), Slot { lost: true, ..slot(5, false) }),
        ]);
        let want = |active, target| Want { active, target: Some(Lsn(target)) };
        let wanted = BTreeMap::from([
            (name("idle"), want(false, 9)),
            (name("lost"), want(true, 9)),
            (name("new"), want(true, 9)),
        ]);
        let plan = plan(&wanted, &have, |n, _| n.as_str() == "mine_to_keep");
        assert_eq!(plan.drop, [name("gone"), name("lost")]);
        assert_eq!(plan.create, [name("new")]);
        assert_eq!(plan.advance, [(name("idle"), Lsn(9))]);
    }
}
