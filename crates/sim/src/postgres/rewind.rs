//! pg_rewind, pg_basebackup and single-user recovery, as far as their results matter.
//!
//! pg_rewind believes timeline numbers and switch points (`findCommonAncestorTimeline`); up to PostgreSQL 15 it
//! also believes that a source whose `pg_control` shows the target's timeline needs no rewind, which is wrong for a
//! server promoted a moment ago that has not completed a checkpoint.

use jogi_core::ha::server::ControlState;
use jogi_core::{History, Lsn, Timeline};

use super::data::Data;
use crate::wal::{Kind, RecordId, Wal};

/// What pg_rewind does.
#[derive(Clone, Debug)]
pub enum Rewound {
    /// "no rewind required": the directory is the target's own, after the crash recovery that it needed first.
    NotRequired(Box<Data>),
    /// The directory is as the source's, ready for recovery.
    Done(Box<Data>),
}

/// Rewinds `target`, which is down, onto `source`, which runs.
pub fn rewind(target: &Data, source: &Data, wal: &mut Wal) -> Result<Rewound, String> {
    if target.system != source.system {
        return Err("source and target clusters are from different systems".to_owned());
    }
    let mut target = target.clone();
    match target.state {
        ControlState::ShutDown | ControlState::ShutDownInRecovery => {}
        ControlState::StartingUp
        | ControlState::ShuttingDown
        | ControlState::InCrashRecovery
        | ControlState::InArchiveRecovery
        | ControlState::InProduction => single_user(&mut target, wal)?,
    }
    let (theirs, ours) = (wal.timeline(source.checkpoint), wal.timeline(target.checkpoint));
    if theirs == ours {
        return Ok(Rewound::NotRequired(Box::new(target)));
    }
    let Some(parted) = divergence(&history(source, theirs), theirs, &history(&target, ours), ours) else {
        return Err("could not find common ancestor of the source and target cluster's timelines".to_owned());
    };
    // A target that was promoted and has completed no checkpoint since counts as one of its former timeline (until
    // PostgreSQL 15), and the point is looked for in a log that ends before it (tried there).
    let own = wal.back_from(target.tip).find(|record| wal.timeline(*record) <= ours).map(|record| wal.end(record));
    if wal.timeline(target.tip) > ours && own.is_some_and(|end| end < parted) {
        return Err(format!("could not find previous WAL record at {parted}: invalid record length at {parted}"));
    }
    // Numbers again: a target whose own last records lie below that point and are no part of the source's log is
    // taken for one that has only to follow.
    if wal.end(target.tip) <= parted {
        return Ok(Rewound::NotRequired(Box::new(target)));
    }
    let mut result = copy(source, wal);
    result.state = ControlState::InArchiveRecovery;
    result.standby_signal = target.standby_signal;
    result.backup_label = wal.last_checkpoint_before(target.tip, parted);
    result.mixed = result.mixed.or(target.mixed);
    if !truly_agree(wal, source.tip, target.tip, parted) {
        result.mixed = Some((target.tip, source.tip));
    }
    Ok(Rewound::Done(Box::new(result)))
}

/// The logs are the same up to `parted`, whatever the histories say.
fn truly_agree(wal: &Wal, source: RecordId, target: RecordId, parted: Lsn) -> bool {
    let Some(common) = wal.common(source, target) else { return false };
    wal.end(common) >= parted || wal.end(target) <= wal.end(common)
}

fn history(data: &Data, timeline: Timeline) -> History {
    data.histories.get(&timeline).cloned().unwrap_or_default()
}

/// Where two histories part: the smaller end of the last entry that both share.
fn divergence(source: &History, source_now: Timeline, target: &History, target_now: Timeline) -> Option<Lsn> {
    let entries = |history: &History, now| {
        let mut begin = Lsn::INVALID;
        let mut all = Vec::new();
        for switch in &history.0 {
            all.push((switch.parent, begin, switch.switched_at));
            begin = switch.switched_at;
        }
        all.push((now, begin, Lsn(u64::MAX)));
        all
    };
    let (source, target) = (entries(source, source_now), entries(target, target_now));
    let shared = source.iter().zip(&target).take_while(|(s, t)| s.0 == t.0 && s.1 == t.1);
    shared.last().map(|(s, t)| s.2.min(t.2))
}

/// What a base backup of `source` gives, when it ends now: with the history file of its own timeline alone.
pub fn base_backup(source: &Data, wal: &Wal) -> Data {
    let mut data = copy(source, wal);
    let own = wal.timeline(data.tip);
    data.histories.retain(|number, _| *number == own);
    data.beside = None;
    data.backup_label = Some(source.checkpoint);
    data
}

fn copy(source: &Data, wal: &Wal) -> Data {
    let mut data = source.clone();
    data.min_recovery = wal.end(source.tip);
    data.min_recovery_timeline = wal.timeline(source.tip);
    data.slots.clear();
    data.logical.clear();
    data.staged.clear();
    data
}

/// `postgres --single`: crash recovery, then a clean shutdown. It refuses standby mode.
pub fn single_user(data: &mut Data, wal: &mut Wal) -> Result<(), String> {
    if data.standby_signal {
        return Err("FATAL:  standby mode is not supported by single-user servers".to_owned());
    }
    let timeline = data.recover_alone(wal);
    data.write_checkpoint(wal, Kind::ShutdownCheckpoint, timeline);
    data.state = ControlState::ShutDown;
    data.min_recovery = Lsn::INVALID;
    data.min_recovery_timeline = Timeline(0);
    Ok(())
}
