//! Statements that change our own running server.

use std::time::Duration;

use tokio::time::Instant;

use crate::connect::{Connection, Purpose, SqlError};
use crate::instance::Instance;

/// How long the server is given to take a request to cancel.
pub(crate) const CANCEL_WITHIN: Duration = Duration::from_secs(1);

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
