//! Who takes the lock lacks at most `maximum_lag_on_failover` of what the store says that the last leader had.
//!
//! That bounds what is lost in asynchronous mode. A person who names the new leader may choose to lose more.

use jogi_core::Lsn;
use jogi_core::view::Settings;

use super::Violation;
use crate::postgres::Phase;
use crate::world::World;

#[derive(Clone, Debug, Default)]
pub struct LagOfTheWinner {
    revision: u64,
    leader: Option<String>,
    /// What the last leader had, before the lock changed hands.
    optime: Lsn,
    /// A person has named a leader.
    by_hand: bool,
}

impl LagOfTheWinner {
    pub fn check(&mut self, world: &World, lenient: bool) -> Option<Violation> {
        if world.store.revision() == self.revision {
            return None;
        }
        self.revision = world.store.revision();
        let view = world.store.view();
        let leader = view.leader.as_ref().map(|l| l.name.0.clone());
        let changed = leader.is_some() && leader != self.leader;
        self.by_hand |= view.failover.as_ref().is_some_and(|f| f.value.is_request() && f.value.leader.is_none());
        let before = self.optime;
        self.optime = view.status.optime;
        if !changed {
            return None;
        }
        self.leader = leader;
        let by_hand = std::mem::take(&mut self.by_hand);
        let winner = &world.hosts[world.leader_host()?];
        if lenient || by_hand || winner.pg.phase() == Some(Phase::Primary) {
            return None;
        }
        let has = world.wal.end(winner.pg.data()?.tip);
        let settings = view.config.as_ref().map(|c| Settings::from_value(&c.value)).unwrap_or_default();
        let least = before.0.saturating_sub(settings.maximum_lag_on_failover);
        (has.0 < least).then(|| Violation {
            at: world.now,
            check: "the new leader lacks more than maximum_lag_on_failover",
            text: format!(
                "{} has WAL to {has}, the last leader had it to {before}, and {} bytes may be missing",
                winner.name, settings.maximum_lag_on_failover
            ),
        })
    }
}
