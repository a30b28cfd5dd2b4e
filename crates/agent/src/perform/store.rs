//! The store: one reading, or one conditional write.

use std::time::Duration;

use jogi_core::ha::{Event, Failure, Outcome, Yield};
use jogi_core::view::Write;
use jogi_dcs::{DcsError, Freshness};

use super::{Ended, Shared};

impl Shared {
    pub(super) async fn load(&self, limit: Duration) -> Ended {
        match self.dcs.load(Freshness::Linearizable, limit).await {
            Ok(view) => {
                let view = Event::View { cluster: view.cluster, read_at: view.read_at, linearizable: true };
                Ended { before: Some(view), outcome: Ok(Yield::Done) }
            }
            Err(error) => Err(unanswered(&error)).into(),
        }
    }

    pub(super) async fn write(&self, write: &Write, limit: Duration) -> Outcome {
        match self.dcs.write(write, limit).await {
            Ok(written) => Ok(Yield::Wrote(written)),
            Err(error) => Err(unanswered(&error)),
        }
    }
}

/// Every way of not being answered is one path: nothing is known to have happened, and nothing not to have.
fn unanswered(error: &DcsError) -> Failure {
    Failure::Unreachable(error.to_string())
}
