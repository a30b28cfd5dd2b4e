//! Who opens as the new primary lacks at most `maximum_lag_on_failover` of what the store says that the last leader had.
//!
//! Counted in the last leader's own log, not by bare positions: what a member has of another branch is none of it (F5).
//! That bounds what is lost in asynchronous mode. It is looked at when the promotion begins: who has taken the lock
//! reads the store once more, and may give it back. A person who names the new leader may choose to lose more; and when
//! nobody of the newest timeline has come back for `ttl`, a member of an older one may lead, which says so.

use std::time::Duration;

use jogi_core::{Lsn, MemberName};

use super::Violation;
use crate::clock::Moment;
use crate::net::HostId;
use crate::postgres::Phase;
use crate::wal::RecordId;
use crate::world::World;

#[derive(Clone, Debug, Default)]
pub struct LagOfTheWinner {
    revision: u64,
    leader: Option<MemberName>,
    last: Last,
    /// Since when nobody holds the lock.
    free: Option<Moment>,
    /// A person has named a leader.
    by_hand: bool,
    /// Who has the lock and is not primary yet.
    opens: Option<Opens>,
}

/// What the last leader had: as it said, and the last record of its log up to there.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    optime: Lsn,
    reached: Option<RecordId>,
}

#[derive(Clone, Copy, Debug)]
struct Opens {
    host: HostId,
    last: Last,
    may_lack: u64,
    /// The lock was free for so long that a member of an older timeline may lead.
    any_branch: bool,
}

impl LagOfTheWinner {
    pub fn check(&mut self, world: &World, lenient: bool) -> Option<Violation> {
        if world.store.revision() != self.revision {
            self.revision = world.store.revision();
            self.store_changed(world, lenient);
        }
        let opens = self.opens?;
        match world.hosts[opens.host].pg.phase() {
            Some(Phase::Promoting | Phase::Primary) => {
                self.opens = None;
                opens.lacks(world)
            }
            Some(_) | None => None,
        }
    }

    fn store_changed(&mut self, world: &World, lenient: bool) {
        let view = world.store.shown();
        let leader = view.leader.as_ref().map(|l| l.name.clone());
        let changed = leader.is_some() && leader != self.leader;
        self.by_hand |= view.failover.as_ref().is_some_and(|f| f.value.is_request() && f.value.leader.is_none());
        let (last, free) = (self.last, self.free);
        self.free = if leader.is_some() { None } else { free.or(Some(world.now)) };
        if view.status.optime != last.optime {
            let tip = world.leader_host().and_then(|host| world.hosts[host].pg.data()).map(|data| data.tip);
            let optime = view.status.optime;
            self.last = Last { optime, reached: tip.and_then(|tip| world.wal.up_to(tip, optime)) };
        }
        if leader.is_none() {
            self.opens = None;
        }
        if !changed {
            return;
        }
        self.leader = leader;
        self.opens = None;
        let by_hand = std::mem::take(&mut self.by_hand);
        let Some(host) = world.leader_host() else { return };
        if lenient || by_hand || world.hosts[host].pg.phase() == Some(Phase::Primary) {
            return;
        }
        let settings = world.store.settings();
        let waited = free.map_or(Duration::ZERO, |since| world.now.since(since));
        // Its clock may be a little fast.
        let any_branch = waited >= settings.ttl.mul_f64(0.97);
        self.opens = Some(Opens { host, last, may_lack: settings.maximum_lag_on_failover, any_branch });
    }
}

impl Opens {
    fn lacks(self, world: &World) -> Option<Violation> {
        let Opens { host, last, may_lack, any_branch } = self;
        let tip = world.hosts[host].pg.data()?.tip;
        let has = world.wal.end(tip);
        let least = Lsn(last.optime.0.saturating_sub(may_lack));
        let violation = |text: String| Violation {
            at: world.now,
            check: "the new leader lacks more than maximum_lag_on_failover",
            text: format!("{} {text}, and {may_lack} bytes may be missing", world.hosts[host].name),
        };
        if has < least {
            return Some(violation(format!("has WAL to {has}, the last leader had it to {}", last.optime)));
        }
        if any_branch {
            return None;
        }
        let reached = last.reached?;
        let shared = world.wal.common(tip, reached).map_or(Lsn::INVALID, |record| world.wal.end(record));
        let text =
            || format!("is on another branch: its log is the last leader's to {shared}, which went to {}", last.optime);
        (shared < least.min(world.wal.end(reached))).then(|| violation(text()))
    }
}
