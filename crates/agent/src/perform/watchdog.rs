//! The kernel watchdog.

use std::sync::Arc;

use jogi_core::ha::{Failure, Outcome, Yield};
use jogi_pg::instance::Instance;

use super::{Shared, blocking};
use crate::watchdog::{DeviceError, Watchdog};

impl Shared {
    pub(super) async fn open_watchdog(&self, instance: &Instance, seconds: u32) -> Outcome {
        let configuration = instance.local.watchdog.clone();
        self.with_watchdog(move |watchdog| watchdog.open(&configuration, seconds)).await
    }

    pub(super) async fn close_watchdog(&self) -> Outcome {
        self.with_watchdog(Watchdog::close).await
    }

    pub(super) async fn try_watchdog(&self, instance: &Instance) -> Outcome {
        let configuration = instance.local.watchdog.clone();
        self.with_watchdog(move |watchdog| watchdog.try_out(&configuration)).await
    }

    async fn with_watchdog(&self, work: impl FnOnce(&Watchdog) -> Result<(), DeviceError> + Send + 'static) -> Outcome {
        let watchdog = Arc::clone(&self.watchdog);
        match blocking(move || work(&watchdog)).await? {
            Ok(()) => Ok(Yield::Done),
            Err(error) => Err(Failure::Failed(error.to_string())),
        }
    }
}
