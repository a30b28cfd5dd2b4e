//! What the leader publishes of its slots, and for how long it keeps that of a member that is away (dcs-layout 2.4).

use std::collections::{BTreeMap, BTreeSet};

use super::permanent::Permanent;
use super::{CAN_ADVANCE, Want};
use crate::ha::NoteLevel;
use crate::ha::machine::Ha;
use crate::ha::server::{Row, Slot};
use crate::{Lsn, SlotName, Tick};

/// Since when the leader has kept the slot of a member, for `retain_slots`.
#[derive(Clone, Debug, Default)]
pub(in crate::ha) struct Retained(BTreeMap<SlotName, Tick>);

impl Ha {
    /// `slots` and `retain_slots` of the status key, as the leader publishes them.
    pub(in crate::ha) fn status_slots(
        &mut self,
        row: &Row,
    ) -> (Option<BTreeMap<SlotName, Lsn>>, Option<Vec<SlotName>>) {
        if row.server_version < CAN_ADVANCE {
            return (None, None);
        }
        let keeps_absent = !self.settings.member_slots_ttl.is_zero();
        let wanted = self.slots_wanted(row);
        let permanent = &wanted.permanent;
        let mut slots: BTreeMap<SlotName, Lsn> = row
            .slots
            .iter()
            .filter(|(name, slot)| wanted.all.get(*name).is_some_and(|want: &Want| want.is_met_by(slot)))
            .filter(|(name, _)| keeps_absent || permanent.contains_key(*name))
            .filter_map(|(name, slot)| Some((name.clone(), position(slot)?)))
            .collect();
        if keeps_absent || permanent.contains_key(&self.me().slot()) {
            slots.insert(self.me().slot(), row.position());
        }
        if !keeps_absent {
            self.retained.0.clear();
            return ((!slots.is_empty()).then_some(slots), None);
        }
        let retain = self.retain_slots(&slots, permanent);
        (Some(slots), (!retain.is_empty()).then_some(retain))
    }

    fn retain_slots(
        &mut self,
        slots: &BTreeMap<SlotName, Lsn>,
        permanent: &BTreeMap<SlotName, Permanent>,
    ) -> Vec<SlotName> {
        let now = self.now.boot;
        let present: BTreeSet<SlotName> = {
            let members = self.cluster().into_iter().flat_map(|c| c.members.values());
            members.filter(|m| !m.data.tags().nostream()).map(|m| m.name.slot()).collect()
        };
        if self.retained.0.is_empty() {
            let before = self.cluster().and_then(|c| c.status.retain_slots.clone()).unwrap_or_default();
            self.retained.0.extend(before.into_iter().map(|slot| (slot, now)));
        }
        let is_permanent = |slot: &SlotName| matches!(permanent.get(slot), Some(Permanent::Physical { .. }));
        for slot in present.iter().filter(|s| slots.contains_key(*s) && !is_permanent(s)) {
            self.retained.0.insert(slot.clone(), now);
        }
        let ttl = self.settings.member_slots_ttl;
        let given_up: Vec<SlotName> = self
            .retained
            .0
            .iter()
            .filter(|(_, since)| now.since(**since) >= ttl)
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in given_up {
            self.retained.0.remove(&slot);
            let text = format!(
                "the slot '{slot}' is kept no longer: its member has been away for member_slots_ttl ({} s)",
                ttl.as_secs()
            );
            self.note(NoteLevel::Info, text);
        }
        self.retained.0.keys().cloned().collect()
    }
}

/// Where a slot stands: what it holds of a physical one, what its reader has confirmed of a logical one.
fn position(slot: &Slot) -> Option<Lsn> {
    if slot.logical { slot.confirmed_flush } else { slot.restart }
}
