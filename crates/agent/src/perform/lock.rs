//! The leader lock, which the keeper alone takes and gives.

use std::time::Duration;

use jogi_core::ha::{Outcome, Yield};
use jogi_core::view::{Expect, Revision};

use super::Shared;

impl Shared {
    pub(super) async fn acquire(&self, expect: Expect, limit: Duration) -> Outcome {
        self.keeper.acquire(expect, limit).await.map(Yield::Acquired)
    }

    pub(super) async fn release(&self, status: Option<String>, limit: Duration) -> Outcome {
        self.keeper.release(status, limit).await.map(Yield::Released)
    }

    pub(super) async fn release_stale(&self, created: Revision, status: Option<String>, limit: Duration) -> Outcome {
        self.keeper.release_stale(created, status, limit).await.map(Yield::Released)
    }
}
