//! Another server's branch of WAL, asked for over the replication protocol; and our own from its history file.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jogi_core::ha::{Lineage, Upstream};
use jogi_core::{History, Lsn, Timeline};
use tokio::time::Instant;

use crate::connect::{Connection, SqlError, Target, TextRow};
use crate::instance::Instance;

/// The answer to IDENTIFY_SYSTEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub system_identifier: String,
    /// Of a standby: the one that it replays.
    pub timeline: Timeline,
    /// End of flushed WAL.
    pub position: Lsn,
}

/// IDENTIFY_SYSTEM.
pub async fn identify(target: &Target, within: Duration) -> Result<Identity, SqlError> {
    let until = Instant::now() + within;
    let mut connection = Connection::open(target, within).await?;
    identify_on(&mut connection, left(until)).await
}

async fn identify_on(connection: &mut Connection, within: Duration) -> Result<Identity, SqlError> {
    let rows = connection.query("IDENTIFY_SYSTEM", within).await?;
    let identity = |row: &TextRow| {
        Some(Identity {
            system_identifier: row.get(0)?.to_owned(),
            timeline: Timeline(row.get(1)?.parse().ok()?),
            position: row.get(2)?.parse().ok()?,
        })
    };
    rows.first().and_then(identity).ok_or_else(|| connection.lost("IDENTIFY_SYSTEM brought no identity"))
}

/// TIMELINE_HISTORY; timeline 1 has none.
async fn history_on(connection: &mut Connection, timeline: Timeline, within: Duration) -> Result<History, SqlError> {
    if timeline <= Timeline(1) {
        return Ok(History::default());
    }
    let rows = connection.query(&format!("TIMELINE_HISTORY {timeline}"), within).await?;
    let text = rows.first().and_then(|row| row.get(1));
    text.map(History::parse).ok_or_else(|| connection.lost("TIMELINE_HISTORY brought no history"))
}

/// Asks the upstream for its timeline, history and whether it has left recovery. Of several addresses the one counts
/// that is a primary; they share the time.
pub async fn compare(instance: &Instance, upstream: &Upstream, within: Duration) -> Result<Lineage, SqlError> {
    let until = Instant::now() + within;
    let mut waiting = upstream.addresses().count();
    let mut said: Option<Result<Lineage, SqlError>> = None;
    for one in upstream.each() {
        let share = left(until) / u32::try_from(waiting).unwrap_or(u32::MAX);
        waiting = (waiting - 1).max(1);
        let answer = compare_one(instance, &one, share).await;
        match &answer {
            Ok(lineage) if lineage.in_recovery == Some(false) => return answer,
            // A standby's word before a silence.
            Ok(_) => said = Some(answer),
            Err(_) => said = said.filter(Result::is_ok).or(Some(answer)),
        }
    }
    said.expect("an upstream has at least one address")
}

/// Whether it has left recovery is asked first: a server that was promoted between the two questions then
/// counts as still in recovery, and is asked again.
async fn compare_one(instance: &Instance, upstream: &Upstream, within: Duration) -> Result<Lineage, SqlError> {
    const STATE: &str = "SELECT pg_is_in_recovery(), timeline_id FROM pg_control_checkpoint()";
    let until = Instant::now() + within;
    let mut sql = Connection::open(&instance.rewind_target(upstream), left(until)).await?;
    let rows = sql.query(STATE, left(until)).await?;
    let column = |column| rows.first().and_then(|row| row.get(column));
    let in_recovery = column(0).map(|answer| answer == "t");
    let checkpointed = column(1).and_then(|timeline| timeline.parse().ok()).map(Timeline);
    drop(sql);
    let lineage = lineage(&instance.replication_target(upstream), left(until)).await?;
    Ok(Lineage { in_recovery, checkpointed, ..lineage })
}

/// The timeline and history of our own running server, over a local replication connection.
pub async fn own_lineage(instance: &Instance, within: Duration) -> Result<Lineage, SqlError> {
    lineage(&instance.local_replication_target(), within).await
}

async fn lineage(target: &Target, within: Duration) -> Result<Lineage, SqlError> {
    let until = Instant::now() + within;
    let mut connection = Connection::open(target, within).await?;
    let identity = identify_on(&mut connection, left(until)).await?;
    let history = history_on(&mut connection, identity.timeline, left(until)).await?;
    Ok(Lineage {
        system_identifier: Some(identity.system_identifier),
        timeline: Some(identity.timeline),
        history,
        modified: None,
        in_recovery: None,
        position: identity.position,
        checkpointed: None,
    })
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Reads `pg_wal/TTTTTTTT.history`. Timeline 1 has none and is an empty history. Blocking.
pub fn read_history(data_dir: &Path, timeline: Timeline) -> io::Result<Lineage> {
    if timeline <= Timeline(1) {
        return Ok(Lineage { timeline: Some(timeline), ..Lineage::default() });
    }
    let path = data_dir.join("pg_wal").join(format!("{:08X}.history", timeline.0));
    let history = History::parse(&String::from_utf8_lossy(&std::fs::read(&path)?));
    let modified = std::fs::metadata(&path).and_then(|found| found.modified()).ok().and_then(iso);
    Ok(Lineage { timeline: Some(timeline), history, modified, ..Lineage::default() })
}

/// ISO 8601 with microseconds and the local offset, as Python's `datetime.isoformat` prints it.
fn iso(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?.to_zoned_datetime(jiff::tz::TimeZone::system());
    let fraction =
        if time.subsec_nanosecond() / 1000 == 0 { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S.%6f%:z" };
    Some(time.strftime(fraction).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_is_read_with_its_time() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("pg_wal")).expect("made");
        let path = dir.path().join("pg_wal/0000000B.history");
        std::fs::write(&path, "10\t0/5000000\tno recovery target specified\n").expect("written");
        let lineage = read_history(dir.path(), Timeline(11)).expect("read");
        assert_eq!(lineage.history.left(Timeline(10)), Some(Lsn(0x500_0000)));
        let modified = lineage.modified.expect("known");
        assert!(modified.contains('T') && modified[19..].contains([':', '+', '-']), "{modified}");
        assert!(read_history(dir.path(), Timeline(12)).is_err());
        assert_eq!(read_history(dir.path(), Timeline(1)).expect("none").history, History::default());
    }
}
