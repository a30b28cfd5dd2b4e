//! Looking: at our own server, at the end of its WAL, at another server's branch of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jogi_core::Timeline;
use jogi_core::ha::server::{Accepting, ControlState, DataDir, Process, Server};
use jogi_core::ha::{Event, Failure, GuardNews, Outcome, Upstream, Yield};
use jogi_net::boot_now;
use jogi_pg::connect::Purpose;
use jogi_pg::guard::StartAs;
use jogi_pg::instance::Instance;
use jogi_pg::look::{Known, Looker};
use jogi_pg::{files, replication, wal};
use tokio::sync::Mutex as Turn;

use super::{Ended, Shared, blocking};

/// The looker and what it is told.
pub(super) struct Look {
    looker: Turn<Looker>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// A server was launched and has not answered yet: its connection is new.
    launched: bool,
    /// The next answer is the first of a started server: its configuration files work.
    backup_due: bool,
}

impl Look {
    pub(super) fn new() -> Look {
        let notes = Notes { launched: false, backup_due: true };
        Look { looker: Turn::new(Looker::new(Purpose::Heartbeat)), notes: Mutex::new(notes) }
    }

    pub(super) fn launched(&self) {
        let mut notes = self.notes();
        notes.launched = true;
        notes.backup_due = true;
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) async fn look(&self, instance: &Instance, limit: Duration) -> Ended {
        let mut looker = self.look.looker.lock().await;
        let child = self.guard.child();
        let known = {
            let mut notes = self.look.notes();
            if std::mem::take(&mut notes.launched) {
                looker.reset();
            }
            let child = child.pid.filter(|_| !child.adopted);
            // What an interrupted change means for the data directory is the core's to say.
            Known { looked_at: boot_now(), child, intent: None }
        };
        let mut server = looker.look(instance, &known, limit).await;
        self.trust_the_guard(&mut server);
        if server.row.is_some() && std::mem::take(&mut self.look.notes().backup_due) {
            save_backups(instance).await;
        }
        let before = self.take_charge(&server).await;
        Ended { before, outcome: Ok(Yield::Looked(Box::new(server))) }
    }

    /// A postmaster that has just been started has not written its postmaster.pid yet. Its parent knows that it lives.
    fn trust_the_guard(&self, server: &mut Server) {
        let child = self.guard.child();
        if let Some(pid) = child.pid
            && !server.process.is_running()
        {
            server.process = Process::Running { pid, adopted: child.adopted, accepting: Accepting::NotYet };
        }
    }

    /// A postmaster that the guard does not know is put into its charge, as what it was seen to be. One that does not
    /// answer too: it may wake up and write.
    async fn take_charge(&self, server: &Server) -> Option<Event> {
        let Process::Running { pid, .. } = server.process else { return None };
        if self.guard.child().pid == Some(pid) {
            return None;
        }
        let client = self.guard.client().await.ok()?;
        if self.guard.child().pid == Some(pid) {
            return None;
        }
        let role = if is_standby(server) { StartAs::Standby } else { StartAs::Unleased };
        match self.guard.adopt(&client, pid, role).await {
            Ok(()) => {
                tracing::info!("the guard has taken charge of the running postmaster (pid {pid})");
                Some(Event::Guard(GuardNews::Adopted(true)))
            }
            Err(error) => {
                tracing::warn!("the running postmaster (pid {pid}) stays without a guard: {error}");
                None
            }
        }
    }

    pub(super) async fn compare(&self, instance: &Instance, upstream: &Upstream, limit: Duration) -> Outcome {
        match replication::compare(instance, upstream, limit).await {
            Ok(lineage) => Ok(Yield::Lineage(lineage)),
            Err(error) => Err(Failure::Unreachable(format!("{upstream}: {error}"))),
        }
    }
}

/// What the server says, else what its control file and signal files say.
fn is_standby(server: &Server) -> bool {
    match (&server.row, &server.data) {
        (Some(row), _) => row.in_recovery,
        (None, DataDir::Present(control)) => match control.state {
            ControlState::InProduction => false,
            ControlState::InArchiveRecovery | ControlState::ShutDownInRecovery => true,
            ControlState::StartingUp
            | ControlState::ShutDown
            | ControlState::ShuttingDown
            | ControlState::InCrashRecovery => control.recovery_files,
        },
        (None, DataDir::Empty | DataDir::Unusable(_) | DataDir::Broken(_)) => false,
    }
}

/// The configuration files of a server that has come up are worth keeping.
async fn save_backups(instance: &Instance) {
    let instance = instance.clone();
    if let Ok(Err(error)) = blocking(move || files::save_backups(&instance)).await {
        tracing::warn!("the configuration files could not be copied aside: {error}");
    }
}

pub(super) async fn end_of_wal(instance: &Instance, limit: Duration) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    let end = blocking(move || wal::find_end(&data_dir, limit)).await?;
    let end = end.map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Yield::EndOfWal { timeline: end.timeline, end: end.end, complete: end.complete })
}

pub(super) async fn history(instance: &Instance, timeline: Timeline, _limit: Duration) -> Outcome {
    let data_dir = instance.data_dir().to_owned();
    let lineage = blocking(move || replication::read_history(&data_dir, timeline)).await?;
    let lineage = lineage
        .map_err(|error| Failure::Failed(format!("cannot read the history file of timeline {timeline}: {error}")))?;
    Ok(Yield::Lineage(lineage))
}
