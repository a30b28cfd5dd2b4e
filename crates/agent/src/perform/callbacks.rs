//! The operator's callbacks: nobody waits for them. In each lane at most one runs; a new one kills the one that
//! runs, with its children, and begins when that has been reaped (configuration 11).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jogi_core::ha::{Action, Failure, Outcome};
use jogi_pg::instance::Instance;
use jogi_pg::programs::{self, Cancel, Canceller, cancel_pair};
use tokio::sync::Mutex as Turn;

use super::program_ended;

/// The two lanes of callbacks.
#[derive(Default)]
pub(super) struct Callbacks {
    reload: Lane,
    other: Lane,
}

#[derive(Default)]
struct Lane {
    /// Ends the newest callback.
    newest: Mutex<Option<Canceller>>,
    /// Held while one runs.
    running: Turn<()>,
}

impl Callbacks {
    pub(super) async fn run(&self, instance: &Instance, action: Action, role: &str, limit: Duration) -> Outcome {
        let lane = match action {
            Action::OnReload => &self.reload,
            Action::OnStart | Action::OnStop | Action::OnRestart | Action::OnRoleChange => &self.other,
        };
        let mut cancel = lane.replace();
        let _turn = lane.running.lock().await;
        if cancel.is_requested() {
            return Err(Failure::Cancelled);
        }
        let ended = programs::callback(instance, action, role, limit, &mut cancel).await;
        if let Err(error) = &ended
            && !cancel.is_requested()
        {
            tracing::warn!("the callback {} failed: {error}", action.word());
        }
        program_ended(ended, &cancel)
    }
}

impl Lane {
    /// Ends the callback that runs or waits, and makes room for a new one.
    fn replace(&self) -> Cancel {
        let (canceller, cancel) = cancel_pair();
        let before = self.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(canceller);
        if let Some(before) = before {
            before.cancel();
        }
        cancel
    }
}
