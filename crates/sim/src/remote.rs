//! A primary outside the herd, whom a standby cluster follows: a host without an agent. What the herd promises does not
//! concern it.

use crate::net::HostId;
use crate::postgres::Phase;
use crate::postgres::data::{Data, Dir};
use crate::postgres::rewind::base_backup;
use crate::trace::Topic;
use crate::world::World;

/// The system identifier of a remote primary that is nobody's copy.
const SYSTEM: u64 = 7_000_000_000_000_000_000;

impl World {
    /// Makes a host one outside the herd and starts its server: a primary, or a standby of `of`.
    pub fn make_remote(&mut self, host: HostId, of: Option<HostId>) -> Result<(), String> {
        let World { hosts, wal, .. } = self;
        let data = match of {
            None => Data::new(SYSTEM + host as u64, wal),
            Some(of) => {
                let source = hosts[of].pg.data().ok_or_else(|| format!("{} has no data", hosts[of].name))?;
                let mut data = base_backup(source, wal);
                data.standby_signal = true;
                data.slot = None;
                data.upstream = Some(hosts[of].name.clone());
                data
            }
        };
        self.hosts[host].pg.dir = Dir::Whole(data);
        self.hosts[host].remote = true;
        let started = self.clock_now(host).wall;
        let World { hosts, wal, rng, .. } = self;
        hosts[host].pg.start(wal, started, rng)?;
        self.say(Topic::Fault, host, || "runs outside the herd".to_owned());
        self.settle_postgres(host);
        Ok(())
    }

    pub fn promote_remote(&mut self, host: HostId) -> Result<(), String> {
        let World { hosts, rng, .. } = self;
        let news = hosts[host].pg.promote(rng)?;
        self.say(Topic::Fault, host, || "is promoted, outside the herd".to_owned());
        self.postgres_news(host, news);
        self.settle_postgres(host);
        Ok(())
    }

    /// CHECKPOINT on it, as whoever looks after it does after a promotion.
    pub fn checkpoint_remote(&mut self, host: HostId) -> Result<(), String> {
        let World { hosts, wal, .. } = self;
        hosts[host].pg.checkpoint(wal)?;
        self.wal_grew(host);
        Ok(())
    }

    /// Of several remote addresses the one that a connection gets to: a writable one, else the first.
    pub fn remote_to_reach(&self, candidates: &[HostId]) -> Option<HostId> {
        let writable = |host: &&HostId| {
            let host = &self.hosts[**host];
            host.powered && host.pg.accepts() && host.pg.phase() == Some(Phase::Primary)
        };
        candidates.iter().find(writable).or(candidates.first()).copied()
    }
}
