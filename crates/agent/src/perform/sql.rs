//! Statements on our own server.

use std::time::Duration;

use jogi_core::ha::{Failure, Outcome, Yield};
use jogi_pg::admin;
use jogi_pg::connect::SqlError;
use jogi_pg::instance::Instance;

pub(super) async fn checkpoint(instance: &Instance, limit: Duration) -> Outcome {
    ended(admin::checkpoint(instance, limit).await)
}

pub(super) async fn resume_replay(instance: &Instance, limit: Duration) -> Outcome {
    ended(admin::resume_replay(instance, limit).await)
}

fn ended(result: Result<(), SqlError>) -> Outcome {
    result.map(|()| Yield::Done).map_err(|error| Failure::Failed(error.to_string()))
}
