//! Rows that were acknowledged are discarded only after the member that does it has said which WAL that is.
//!
//! It reads what the member writes into its log (a number of bytes and where they lie) and compares it with what is
//! truly in its directory and not in the leader's, at the moment when pg_rewind or the removal of the directory
//! begins. A person who has a member copied anew has chosen to lose what it had.

use std::collections::BTreeSet;

use jogi_core::Lsn;
use jogi_core::ha::{Act, Aside, Effect};

use super::Violation;
use crate::net::HostId;
use crate::wal::RecordId;
use crate::world::World;

#[derive(Clone, Debug, Default)]
pub struct Reported {
    /// From where to where, by whom.
    ranges: Vec<(HostId, Lsn, Lsn)>,
    /// Members that a person has asked to be copied anew.
    by_hand: BTreeSet<HostId>,
    /// How often rows were discarded that had been acknowledged.
    pub discarded: u64,
}

impl Reported {
    /// A sentence of the member's log.
    pub fn hear(&mut self, host: HostId, note: &str) {
        self.ranges.extend(range(note).map(|(from, to)| (host, from, to)));
    }

    pub fn asked_to_copy(&mut self, host: HostId) {
        self.by_hand.insert(host);
    }

    /// An effect of the member begins.
    pub fn check(&mut self, world: &World, host: HostId, effect: &Effect) -> Option<Violation> {
        let discards = match &effect.act {
            Act::Rewind { .. } => true,
            Act::PutAside { suffix: Aside::Old | Aside::Diverged } => !self.by_hand.contains(&host),
            _ => false,
        };
        let (first, last) = given_up(world, host).filter(|_| discards)?;
        self.discarded += 1;
        let (from, to) = (world.wal.get(first).start, world.wal.end(last));
        let said = self.ranges.iter().any(|(who, begin, end)| *who == host && *begin <= from && to <= *end);
        (!said).then(|| Violation {
            at: world.now,
            check: "acknowledged rows are discarded and nobody was told",
            text: format!(
                "{} begins {} on a directory with rows from {from} to {to} that the leader does not have, and has not \
                 said so: {:?}",
                world.hosts[host].name,
                effect.act.name(),
                self.ranges
                    .iter()
                    .filter(|(who, ..)| *who == host)
                    .map(|(_, a, b)| format!("{a} to {b}"))
                    .collect::<Vec<_>>()
            ),
        })
    }
}

/// The first and the last acknowledged row in the member's log that the leader does not have.
fn given_up(world: &World, host: HostId) -> Option<(RecordId, RecordId)> {
    let ours = world.hosts[host].pg.dir.readable()?.tip;
    let theirs = world.hosts[world.leader_host().filter(|leader| *leader != host)?].pg.data()?.tip;
    let common = world.wal.common(ours, theirs)?;
    let own: BTreeSet<RecordId> = world.wal.back_from(ours).take_while(|id| *id != common).collect();
    let acked = world.clients.iter().flat_map(|c| &c.acked).map(|a| a.record).filter(|id| own.contains(id));
    let acked: BTreeSet<RecordId> = acked.collect();
    Some((*acked.first()?, *acked.last()?))
}

/// `384 bytes of it (0/1503C40 to 0/1503DC0) …`; or all of it, where a history could not be read.
fn range(note: &str) -> Option<(Lsn, Lsn)> {
    if note.contains("all of ours may be given up") {
        return Some((Lsn::INVALID, Lsn(u64::MAX)));
    }
    let (_, rest) = note.split_once("bytes of it (")?;
    let (inside, _) = rest.split_once(')')?;
    let (from, to) = inside.split_once(" to ")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_from_a_sentence() {
        let note = "our WAL (timeline 2, up to 0/1503DC0) is not part of c's (timeline 5): 384 bytes of it (0/1503C40 to \
                    0/1503DC0) are given up";
        assert_eq!(range(note), Some((Lsn(0x1503C40), Lsn(0x1503DC0))));
        assert_eq!(range("our WAL is not part of b's"), None);
        let all = "where the two part is not known, so all of ours may be given up";
        assert_eq!(range(all), Some((Lsn(0), Lsn(u64::MAX))));
    }
}
