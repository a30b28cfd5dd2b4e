//! Statements that change our own running server.

use std::time::Duration;

use jogi_core::ha::SlotPlan;
use tokio::time::Instant;

use crate::connect::{Connection, Purpose, SqlError, quote_literal};
use crate::instance::Instance;

/// How long the server is given to take a request to cancel.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);
/// `ERRCODE_DUPLICATE_OBJECT`: the slot to create is there.
const DUPLICATE: &str = "42710";
/// `ERRCODE_UNDEFINED_OBJECT`: the slot to drop is not there.
const UNDEFINED: &str = "42704";

/// CHECKPOINT.
pub async fn checkpoint(instance: &Instance, within: Duration) -> Result<(), SqlError> {
    execute(instance, "CHECKPOINT", within).await
}

/// Resumes WAL replay.
pub async fn resume_replay(instance: &Instance, within: Duration) -> Result<(), SqlError> {
    execute(instance, "SELECT pg_wal_replay_resume()", within).await
}

/// Runs one statement on a connection of its own. Out of time it is cancelled on the server as well, so that
/// nothing goes on behind our back.
pub async fn execute(instance: &Instance, sql: &str, within: Duration) -> Result<(), SqlError> {
    let until = Instant::now() + within;
    let target = instance.local_target(Purpose::Work);
    let mut connection = Connection::open(&target, within).await?;
    let ended = connection.query(sql, until.saturating_duration_since(Instant::now())).await;
    if let Err(SqlError::TimedOut { .. }) = &ended {
        connection.cancel(&target, CANCEL_WITHIN).await;
    }
    ended.map(|_| ())
}

/// Drops, creates and advances slots, in this order; goes on after a failure, and reports the last one when
/// all have been tried. A slot that already is as it is to be is no failure.
pub async fn slots(instance: &Instance, plan: &SlotPlan, within: Duration) -> Result<(), SqlError> {
    let until = Instant::now() + within;
    let target = instance.local_target(Purpose::Work);
    let mut connection = Connection::open(&target, within).await?;
    let mut failure = None;
    for (sql, forgiven) in statements(plan) {
        match connection.query(&sql, until.saturating_duration_since(Instant::now())).await {
            Ok(_) => {}
            Err(error) if error.sqlstate().is_some_and(|state| state == forgiven) => {}
            Err(error @ SqlError::Failed { .. }) => {
                tracing::warn!("{error}; it was: {sql}");
                failure = Some(error);
            }
            Err(error) => {
                connection.cancel(&target, CANCEL_WITHIN).await;
                return Err(error);
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Each statement with the SQLSTATE that is as good as success.
fn statements(plan: &SlotPlan) -> Vec<(String, &'static str)> {
    let drop = |slot: &jogi_core::SlotName| {
        (format!("SELECT pg_drop_replication_slot({})", quote_literal(slot.as_str())), UNDEFINED)
    };
    let create = |slot: &jogi_core::SlotName| {
        (format!("SELECT pg_create_physical_replication_slot({}, true)", quote_literal(slot.as_str())), DUPLICATE)
    };
    let advance = |(slot, to): &(jogi_core::SlotName, jogi_core::Lsn)| {
        (format!("SELECT pg_replication_slot_advance({}, '{to}')", quote_literal(slot.as_str())), "")
    };
    let mut all: Vec<_> = plan.drop.iter().map(drop).collect();
    all.extend(plan.create.iter().map(create));
    all.extend(plan.advance.iter().map(advance));
    all
}
