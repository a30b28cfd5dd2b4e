//! One deadline over several requests.

use std::time::Duration;

use tokio::time::Instant;

/// What is left of it.
#[derive(Clone, Copy)]
pub(crate) struct Left(Instant);

impl Left {
    pub(crate) fn of(deadline: Duration) -> Left {
        Left(Instant::now() + deadline)
    }

    pub(crate) fn time(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
