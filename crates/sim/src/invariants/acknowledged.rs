//! In the synchronous modes no acknowledged commit is missing from a primary.
//!
//! It counts whatever a client was told is done while a synchronous mode was in force and the `sync` key named a leader,
//! and since then without a break: switched off, it promises nothing, not even for what was confirmed before. A commit
//! that no standby had confirmed counts as well: then the key names no standby, and nobody but its own member may lead.
//! A failover by hand goes where it is sent, whatever the key says: what was acknowledged before it may be lost.
//! What does not count is what a server without the lock confirmed that somebody else started beside its agent: alone, for
//! by its files it may wait for nobody until it is closed, or after the cluster had gone on without it, with a standby
//! that has not heard of that and still streams from it (docs/reliability.md, gaps).

use super::{Rules, Violation};
use crate::client::Acked;
use crate::clock::Moment;
use crate::net::HostId;
use crate::postgres::Phase;
use crate::wal::RecordId;
use crate::world::World;

#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    /// Since when a synchronous mode has been in force.
    since: Option<Moment>,
    /// The primary that was looked at last, and which of its lives.
    seen: Option<(HostId, u64)>,
}

impl Acknowledged {
    /// Looks at each primary once, as soon as it is one.
    pub(super) fn check(
        &mut self,
        world: &World,
        holder: Option<HostId>,
        rules: &Rules,
        lenient: bool,
    ) -> Option<Violation> {
        let view = world.store.shown();
        let by_hand = view.failover.as_ref().is_some_and(|f| f.value.is_request() && !f.value.is_switchover());
        let promised = rules.sync && !lenient && view.sync.leader.is_some() && !by_hand;
        self.since = if promised { self.since.or(Some(world.now)) } else { None };
        let primary = holder.filter(|host| world.hosts[*host].pg.phase() == Some(Phase::Primary))?;
        let life = (primary, world.hosts[primary].pg.server);
        if self.seen == Some(life) {
            return None;
        }
        self.seen = Some(life);
        self.missing(world, primary)
    }

    /// What the primary of this moment does not have.
    pub fn missing(&self, world: &World, primary: HostId) -> Option<Violation> {
        let since = self.since?;
        let tip = world.hosts[primary].pg.data()?.tip;
        let acked = world.clients.iter().flat_map(|c| &c.acked);
        let counts = |a: &Acked| a.at >= since && (a.synchronous || !a.unled);
        let missing = acked.filter(|a| counts(a) && !world.wal.contains(tip, a.record));
        let lost = missing.filter(|a| !(a.unled && left_behind(world, tip, a.record))).min_by_key(|a| a.record)?;
        Some(Violation {
            at: world.now,
            check: "an acknowledged commit is missing from the primary",
            text: format!(
                "{} does not have {}, which {} committed, {}, and of which its client was told at {} s",
                world.hosts[primary].name,
                world.wal.end(lost.record),
                world.hosts[lost.host].name,
                if lost.synchronous { "a standby confirmed" } else { "no standby confirmed" },
                lost.at
            ),
        })
    }
}

/// Whether the log that ends in `tip` had gone another way before `record` was written. Records are numbered as they are
/// written.
fn left_behind(world: &World, tip: RecordId, record: RecordId) -> bool {
    let Some(common) = world.wal.common(tip, record) else { return false };
    let beyond = world.wal.back_from(tip).take_while(|at| *at != common);
    beyond.last().is_some_and(|first| first < record)
}
