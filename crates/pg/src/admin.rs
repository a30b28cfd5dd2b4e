//! Statements that change our own running server.

use std::time::Duration;

use jogi_core::ha::SlotPlan;

use crate::connect::SqlError;
use crate::instance::Instance;

/// CHECKPOINT.
pub async fn checkpoint(_instance: &Instance, _within: Duration) -> Result<(), SqlError> {
    todo!()
}

/// Resumes WAL replay.
pub async fn resume_replay(_instance: &Instance, _within: Duration) -> Result<(), SqlError> {
    todo!()
}

/// Drops, creates and advances slots, in this order; goes on after a failure and reports them together.
pub async fn slots(_instance: &Instance, _plan: &SlotPlan, _within: Duration) -> Result<(), SqlError> {
    todo!()
}
