//! In the synchronous modes no acknowledged commit is missing from a primary.
//!
//! It counts what standbys had confirmed when its client was told, while a synchronous mode has been in force from then
//! on without a break: switched off, it promises nothing, not even for what was confirmed before.

use super::{Rules, Violation};
use crate::clock::Moment;
use crate::net::HostId;
use crate::postgres::Phase;
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
    pub fn check(&mut self, world: &World, rules: &Rules, lenient: bool) -> Option<Violation> {
        let promised = rules.sync && !lenient;
        self.since = if promised { self.since.or(Some(world.now)) } else { None };
        let primary = world.leader_host().filter(|host| world.hosts[*host].pg.phase() == Some(Phase::Primary))?;
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
        let acked = world.clients.iter().flat_map(|c| &c.acked).filter(|a| a.synchronous && a.at >= since);
        let lost = acked.filter(|a| !world.wal.contains(tip, a.record)).min_by_key(|a| a.record)?;
        Some(Violation {
            at: world.now,
            check: "an acknowledged commit is missing from the primary",
            text: format!(
                "{} does not have {}, which {} committed and a standby had confirmed when its client was told at {} s",
                world.hosts[primary].name,
                world.wal.end(lost.record),
                world.hosts[lost.host].name,
                lost.at
            ),
        })
    }
}
