//! The store: one reading, or one conditional write.

use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use jogi_core::ha::{Event, Failure, Outcome, Yield};
use jogi_core::view::Write;
use jogi_dcs::{DcsError, Freshness};

use super::{Ended, Shared};

impl Shared {
    pub(super) async fn load(&self, limit: Duration) -> Ended {
        if let Err(failure) = self.admitted() {
            return Err(failure).into();
        }
        match self.dcs.load(Freshness::Linearizable, limit).await {
            Ok(view) => {
                let view = Event::View { cluster: view.cluster, read_at: view.read_at, linearizable: true };
                Ended { before: Some(view), outcome: Ok(Yield::Done) }
            }
            Err(error) => Err(unanswered(&error)).into(),
        }
    }

    fn admitted(&self) -> Result<(), Failure> {
        match self.admitted.load(Acquire) {
            true => Ok(()),
            false => Err(Failure::Unreachable("the store has not answered since the agent began".into())),
        }
    }

    pub(super) async fn write(&self, write: &Write, limit: Duration) -> Outcome {
        self.admitted()?;
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
