//! Replication slots on the models: changed by queries, and copied as files from the leader.

use std::collections::BTreeMap;

use jogi_core::ha::{Failure, LogicalPlan, Outcome, SlotPlan, Upstream, Yield};
use jogi_core::{Lsn, SlotName};

use crate::net::HostId;
use crate::postgres::Phase;
use crate::postgres::data::{Data, LogicalSlot, transaction};
use crate::world::World;

pub(super) fn change(data: &mut Data, plan: &SlotPlan, end: Lsn) {
    for name in &plan.drop {
        data.slots.remove(name);
        data.logical.remove(name);
    }
    for name in &plan.create {
        data.slots.entry(name.clone()).or_insert(end);
    }
    for (name, to) in &plan.advance {
        data.slots.insert(name.clone(), *to);
    }
}

impl World {
    /// A standby creates none; an advance goes as far as the log is replayed.
    pub(super) fn work_on_logical(&mut self, host: HostId, plan: &LogicalPlan) -> Outcome {
        let primary = self.hosts[host].pg.phase() == Some(Phase::Primary);
        let end = self.hosts[host].pg.data().map(|data| self.wal.end(data.tip)).unwrap_or_default();
        if !primary && !plan.create.is_empty() {
            return Err(Failure::Failed("cannot create a logical slot while in recovery".to_owned()));
        }
        let done = self.when_answering(host, |data| {
            for slot in &plan.create {
                let new = LogicalSlot { database: slot.database.clone(), plugin: slot.plugin.clone(), confirmed: end };
                data.logical.entry(slot.name.clone()).or_insert(new);
            }
            for (name, _, to) in &plan.advance {
                if let Some(slot) = data.logical.get_mut(name) {
                    slot.confirmed = slot.confirmed.max((*to).min(end));
                }
            }
        });
        done.map(|_| Yield::LogicalSlots { lost: Vec::new() })
    }

    /// What the primary holds back: for its logical slots, and on the physical slot of a standby with feedback.
    pub(super) fn horizon(&mut self, host: HostId, from: &Upstream, slots: &[SlotName]) -> Outcome {
        let source = self.primary_to_ask(host, from)?;
        let Some(data) = self.hosts[source].pg.data() else { return Err(unreachable(from)) };
        let mut horizon: BTreeMap<SlotName, u32> =
            data.logical.iter().map(|(name, slot)| (name.clone(), slot.catalog_xmin())).collect();
        for (standby, _) in self.fed_by(source) {
            let Some(below) = self.hosts[standby].pg.data().filter(|below| below.feedback) else { continue };
            let oldest = below.logical.values().map(LogicalSlot::catalog_xmin).min();
            let held = oldest.unwrap_or_else(|| transaction(self.wal.end(below.tip)));
            if let Some(slot) = &below.slot {
                horizon.insert(slot.clone(), held);
            }
        }
        horizon.retain(|name, _| slots.contains(name));
        Ok(Yield::Horizon(horizon))
    }

    pub(super) fn fetch_slots(&mut self, host: HostId, from: &Upstream, slots: &[SlotName]) -> Outcome {
        let source = self.primary_to_ask(host, from)?;
        let Some(data) = self.hosts[source].pg.data() else { return Err(unreachable(from)) };
        let theirs: BTreeMap<SlotName, LogicalSlot> =
            data.logical.iter().filter(|(name, _)| slots.contains(name)).map(|(n, s)| (n.clone(), s.clone())).collect();
        let ready = theirs.iter().map(|(name, slot)| (name.clone(), slot.catalog_xmin())).collect();
        if let Some(data) = self.hosts[host].pg.data_mut() {
            data.staged.extend(theirs);
        }
        Ok(Yield::Fetched { ready, left_out: Vec::new() })
    }

    pub(super) fn install_slots(&mut self, host: HostId, slots: &[SlotName]) -> Outcome {
        let pg = &mut self.hosts[host].pg;
        if pg.running.is_some() {
            return Err(Failure::Failed("a server runs on the data directory".to_owned()));
        }
        let Some(data) = pg.data_mut() else { return Err(Failure::Failed("there is no data directory".to_owned())) };
        for name in slots {
            if let Some(slot) = data.staged.remove(name) {
                data.logical.insert(name.clone(), slot);
            }
        }
        Ok(Yield::Done)
    }

    fn primary_to_ask(&self, host: HostId, from: &Upstream) -> Result<HostId, Failure> {
        let source = self.host_of(from).filter(|source| self.serves_copies(host, *source));
        source.filter(|source| self.hosts[*source].pg.phase() == Some(Phase::Primary)).ok_or_else(|| unreachable(from))
    }

    /// The reader of a logical slot takes everything from where the slot stands. Nothing may lie between that and what
    /// it took before: it would never see it.
    pub(crate) fn read_slot(&mut self, host: HostId, name: &str) -> Result<(), String> {
        let name = SlotName(name.into());
        let end = self.hosts[host].pg.data().map(|data| self.wal.end(data.tip)).unwrap_or_default();
        let data = self.hosts[host].pg.data_mut();
        let Some(slot) = data.and_then(|data| data.logical.get_mut(&name)) else {
            return Err(format!("there is no logical slot {}", name.as_str()));
        };
        let had = self.readers.insert(name, end);
        match had.filter(|had| slot.confirmed > *had) {
            Some(had) => {
                Err(format!("the slot stands at {}, its reader had taken what is before {had}", slot.confirmed))
            }
            None => {
                slot.confirmed = end;
                Ok(())
            }
        }
    }
}

fn unreachable(from: &Upstream) -> Failure {
    Failure::Unreachable(format!("cannot connect to a primary on {}", from.host))
}
