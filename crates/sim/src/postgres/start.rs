//! What PostgreSQL makes of a data directory when it starts (xlogrecovery.c, `InitWalRecovery`).
//!
//! The rules that matter here: files alone decide whether it comes up writable; a crashed primary without signal
//! files recovers on its own timeline and serves; a standby refuses a history that its checkpoint is not part of.

use jogi_core::ha::server::ControlState;
use jogi_core::{History, Lsn, Timeline};

use super::data::Data;
use crate::wal::{RecordId, Wal};

/// How a start goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing to recover; it serves at once.
    Serve,
    /// Replays its own log to the end, then serves.
    CrashRecovery,
    /// Replays what it has, then follows.
    Standby,
    /// It ends with this message.
    Fatal(String),
    /// It waits for ever for WAL that nobody has: the newest history file in `pg_wal` does not know the timeline of the
    /// checkpoint, so that not even that can be read (tried on PostgreSQL 15: "unexpected timeline ID 1 in log segment");
    /// or where the checkpoint should be lies other WAL of the newest timeline.
    Stuck,
}

pub fn plan(data: &Data, wal: &Wal) -> Plan {
    if !data.standby_signal {
        let clean = data.state == ControlState::ShutDown && data.backup_label.is_none();
        return if clean { Plan::Serve } else { Plan::CrashRecovery };
    }
    let target = data.latest_timeline(wal);
    let own = wal.timeline(data.tip);
    let history =
        if target > own { data.histories.get(&target).cloned().unwrap_or_default() } else { wal.history(data.tip) };
    let checkpoint = wal.get(data.backup_label.unwrap_or(data.checkpoint));
    if target != checkpoint.timeline && history.left(checkpoint.timeline).is_none() {
        return Plan::Stuck;
    }
    let covered = |beside| wal.timeline(beside) == target && !wal.contains(beside, data.checkpoint);
    if data.beside.is_some_and(covered) {
        return Plan::Stuck;
    }
    if timeline_at(&history, target, checkpoint.start) != checkpoint.timeline {
        return Plan::Fatal(format!(
            "requested timeline {target} is not a child of this server's history: latest checkpoint is at {} on timeline {}",
            checkpoint.start, checkpoint.timeline
        ));
    }
    let min = data.min_recovery;
    if min.is_valid() && timeline_at(&history, target, Lsn(min.0 - 1)) != data.min_recovery_timeline {
        return Plan::Fatal(format!(
            "requested timeline {target} does not contain minimum recovery point {min} on timeline {}",
            data.min_recovery_timeline
        ));
    }
    Plan::Standby
}

/// PostgreSQL's `tliOfPointInHistory`: the timeline that `lsn` is on in the history of `newest`.
pub fn timeline_at(history: &History, newest: Timeline, lsn: Lsn) -> Timeline {
    history.0.iter().find(|switch| lsn < switch.switched_at).map_or(newest, |switch| switch.parent)
}

/// What an upstream makes of a standby's request to stream (walsender.c, `StartReplication`). It knows timeline
/// numbers, positions and its own history; it cannot see what the standby's log contains. A request begins at the start
/// of a segment, so that on one timeline a standby that is a little ahead is served too, and what it has is
/// overwritten.
pub fn may_stream(upstream: &Data, standby: &Data, wal: &Wal) -> bool {
    let (own, newest) = (wal.timeline(standby.tip), wal.timeline(upstream.tip));
    let begins = wal.segment_start(wal.end(standby.tip));
    if upstream.system != standby.system || !may_go_on(standby, upstream.tip, wal) {
        return false;
    }
    own != newest || begins <= wal.end(upstream.tip)
}

/// Whether the standby can go on with a log that ends in `tip`: it looks for its own timeline in the history file that
/// it has (and keeps, where it has one of that number), and does not leave it before the point where it is.
pub fn may_go_on(standby: &Data, tip: RecordId, wal: &Wal) -> bool {
    let (own, to, at) = (wal.timeline(standby.tip), wal.timeline(tip), wal.end(standby.tip));
    let leaves_at = |history: &History| history.left(own).is_some_and(|switched_at| at <= switched_at);
    own == to || (leaves_at(&wal.history(tip)) && standby.histories.get(&to).is_none_or(leaves_at))
}

/// The history files that a receiver fetches as it connects, before it asks for any WAL: of every timeline from its
/// own to the upstream's that it has none of. `None`: the upstream is behind, or has not got one of them, and the
/// receiver ends.
pub fn fetched(upstream: &Data, standby: &Data, wal: &Wal) -> Option<Vec<(Timeline, History)>> {
    let (own, newest) = (wal.timeline(standby.tip), wal.timeline(upstream.tip));
    let wanted = (own.0.max(2)..=newest.0).map(Timeline).filter(|number| !standby.histories.contains_key(number));
    let files: Option<Vec<_>> = wanted.map(|number| Some((number, upstream.histories.get(&number)?.clone()))).collect();
    files.filter(|_| upstream.system == standby.system && newest >= own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Kind;

    #[test]
    fn points_of_a_history() {
        let history = History::parse("1 0/100\n2 0/200\n");
        for (lsn, timeline) in [(0, 1), (0xFF, 1), (0x100, 2), (0x1FF, 2), (0x200, 3), (0x900, 3)] {
            assert_eq!(timeline_at(&history, Timeline(3), Lsn(lsn)), Timeline(timeline), "{lsn:x}");
        }
    }

    #[test]
    fn streaming_is_judged_by_numbers_not_by_content() {
        let mut wal = Wal::default();
        let primary = Data::new(7, &mut wal);
        let fork = |wal: &mut Wal, data: &Data, commits: usize| {
            let mut data = data.clone();
            data.tip = wal.append(data.tip, Timeline(2), Kind::EndOfRecovery, 42);
            for _ in 0..commits {
                data.tip = wal.append(data.tip, Timeline(2), Kind::Commit, 100);
            }
            data
        };
        let (one, other) = (fork(&mut wal, &primary, 3), fork(&mut wal, &primary, 1));
        assert!(may_stream(&one, &primary, &wal), "the parent timeline, up to the switch");
        assert!(may_stream(&one, &other, &wal), "same number, lower position: PostgreSQL cannot tell");
        assert!(may_stream(&other, &one, &wal), "nor when it is ahead in the same segment");
        assert!(!wal.contains(one.tip, other.tip), "and yet they have parted");
        let mut far = one.clone();
        far.tip = wal.append(one.tip, Timeline(2), Kind::Commit, 16 << 20);
        assert!(!may_stream(&other, &far, &wal), "a segment ahead of the upstream");
    }
}
