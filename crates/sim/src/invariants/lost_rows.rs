//! Acknowledged rows that the primary does not have.

use jogi_core::Lsn;

use crate::world::World;

/// What is missing in the log of whoever leads now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub rows: usize,
    /// From the first lost row's beginning to the last one's end.
    pub from: Lsn,
    pub to: Lsn,
}

pub fn lost(world: &World) -> Option<Lost> {
    let leader = world.host_named(world.store.leader()?)?;
    let tip = world.hosts[leader].pg.data()?.tip;
    let rows = world.lost_in(tip);
    let from = rows.iter().map(|r| world.wal.get(*r).start).min().unwrap_or_default();
    let to = rows.iter().map(|r| world.wal.end(*r)).max().unwrap_or_default();
    Some(Lost { rows: rows.len(), from, to })
}
