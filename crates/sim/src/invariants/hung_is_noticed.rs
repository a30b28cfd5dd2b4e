//! A primary that hangs is given up while nothing else is wrong and another member may lead (fault-scenarios F9).
//!
//! The agent looks for a completed query on fresh and on kept connections and gives the server up after the longer of
//! `ttl` and 10 s; after twice that where an orderly stop had begun before. For that long and [`MORE`] the same server may
//! hold the key, hung, counted only while the herd is quiet: a store and a network that work, agents that run, no pause,
//! and a standby that lacks nothing.

use std::time::Duration;

use super::{Rules, Violation};
use crate::agent::Stall;
use crate::clock::Moment;
use crate::net::HostId;
use crate::postgres::{Hang, Phase};
use crate::store::Health;
use crate::world::{Host, World};

/// The least patience with a server that completes no query.
const PATIENCE: Duration = Duration::from_secs(10);
/// What looking, asking the others and giving up may take beyond it.
const MORE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub struct HungIsNoticed {
    watched: Option<(Hung, Moment)>,
    /// Hung servers that were given up when it was time.
    pub noticed: u64,
}

/// A hung server under the key, with what its agent's patience counts from anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hung {
    host: HostId,
    server: u64,
    incarnation: u64,
    ttl: Duration,
}

impl HungIsNoticed {
    pub(super) fn check(&mut self, world: &World, holder: Option<HostId>, rules: &Rules) -> Option<Violation> {
        let hung = holder.filter(|host| world.hosts[*host].pg.hang() != Hang::No);
        let hung = hung.filter(|host| is_quiet(world, *host, rules)).map(|host| Hung {
            host,
            server: world.hosts[host].pg.server,
            incarnation: world.hosts[host].incarnation,
            ttl: rules.ttl,
        });
        let (Some(hung), Some((before, since))) = (hung, self.watched) else {
            if let Some((before, since)) = self.watched {
                let gone = holder != Some(before.host) || world.hosts[before.host].pg.is_gone();
                self.noticed += u64::from(gone && world.now.since(since) > before.patience() / 2);
            }
            self.watched = hung.map(|hung| (hung, world.now));
            return None;
        };
        if hung != before {
            self.watched = Some((hung, world.now));
            return None;
        }
        let lasted = world.now.since(since);
        (lasted > hung.patience() * 2 + MORE).then(|| Violation {
            at: world.now,
            check: "a hung primary is given up",
            text: format!(
                "{} has held the leader key for {} s with a server that hangs ({:?})",
                world.hosts[hung.host].name,
                lasted.as_secs(),
                world.hosts[hung.host].pg.hang()
            ),
        })
    }
}

impl Hung {
    fn patience(self) -> Duration {
        self.ttl.max(PATIENCE)
    }
}

fn is_quiet(world: &World, primary: HostId, rules: &Rules) -> bool {
    let well = world.store.health == Health::Well && world.net.is_well() && world.trouble_one_in == 0;
    let holder = &world.hosts[primary];
    let is_primary = holder.pg.phase() == Some(Phase::Primary) && holder.pg.stuck_backend.is_none();
    // In failsafe mode and with votes to count more than one standby has a say.
    let simple = !rules.pause && !rules.failsafe && world.store.view().sync.quorum == 0;
    well && simple && is_primary && works(holder) && (0..world.hosts.len()).any(|host| may_lead(world, primary, host))
}

fn works(host: &Host) -> bool {
    let acts = host.agent.as_ref().is_some_and(|agent| agent.stall == Stall::No);
    host.powered && acts && host.store_lag.is_zero()
}

/// A standby that has everything, or lacks only what may be lost.
fn may_lead(world: &World, primary: HostId, host: HostId) -> bool {
    let standby = &world.hosts[host];
    if host == primary || standby.absent || standby.remote || !works(standby) {
        return false;
    }
    let pg = &standby.pg;
    let able = pg.phase() == Some(Phase::Standby) && pg.answers() && pg.hang() == Hang::No && !pg.disk_full;
    let (Some(ours), Some(theirs)) = (pg.data(), world.hosts[primary].pg.data()) else { return false };
    let view = world.store.view();
    let legal = view.sync.leader.is_none() || view.sync.names(&standby.name);
    able && legal && world.wal.end(ours.tip) >= view.status.optime && world.wal.contains(theirs.tip, ours.tip)
}
