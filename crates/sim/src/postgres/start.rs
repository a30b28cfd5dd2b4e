//! What PostgreSQL makes of a data directory when it starts (xlogrecovery.c, `InitWalRecovery`).
//!
//! The rules that matter here: files alone decide whether it comes up writable; a crashed primary without signal
//! files recovers on its own timeline and serves; a standby refuses a history that its checkpoint is not part of.

use jogi_core::ha::server::ControlState;
use jogi_core::{History, Lsn, Timeline};

use super::data::Data;
use crate::wal::Wal;

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
    /// checkpoint, so that not even that can be read (tried on PostgreSQL 15: "unexpected timeline ID 1 in log segment").
    Stuck,
}

pub fn plan(data: &Data, wal: &Wal) -> Plan {
    if !data.standby_signal {
        let clean = data.state == ControlState::ShutDown && !data.backup_label;
        return if clean { Plan::Serve } else { Plan::CrashRecovery };
    }
    let target = data.latest_timeline(wal);
    let own = wal.timeline(data.tip);
    let history =
        if target > own { data.histories.get(&target).cloned().unwrap_or_default() } else { wal.history(data.tip) };
    let checkpoint = wal.get(data.checkpoint);
    if target != checkpoint.timeline && history.left(checkpoint.timeline).is_none() {
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
/// numbers, positions and its own history; it cannot see what the standby's log contains.
pub fn may_stream(upstream: &Data, standby: &Data, wal: &Wal) -> bool {
    if upstream.system != standby.system {
        return false;
    }
    let (timeline, at) = (wal.timeline(standby.tip), wal.end(standby.tip));
    let (newest, end) = (wal.timeline(upstream.tip), wal.end(upstream.tip));
    if !may_switch(standby, newest, wal) {
        return false;
    }
    if timeline == newest {
        return at <= end;
    }
    wal.history(upstream.tip).left(timeline).is_some_and(|switched_at| at <= switched_at)
}

/// Whether the standby can go on to the upstream's timeline: it fetches a history file only where it has none, so one
/// that does not know its own timeline keeps it where it is.
pub fn may_switch(standby: &Data, to: Timeline, wal: &Wal) -> bool {
    let own = wal.timeline(standby.tip);
    own == to || standby.histories.get(&to).is_none_or(|history| history.left(own).is_some())
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
        assert!(!may_stream(&other, &one, &wal), "ahead of the upstream");
        assert!(!wal.contains(one.tip, other.tip), "and yet they have parted");
    }
}
