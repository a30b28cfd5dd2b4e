//! The postmaster through its guard: start, signal, fence, promote, arm.
//!
//! The guard starts and promotes, because it must be there to end what becomes writable; it refuses when the
//! lease is over. Signals and killing also work without a guard.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::ha::{Event, Failure, Generation, GuardNews, LaunchAs, Outcome, Setup, Stop, Yield};
use jogi_net::boot_now;
use jogi_pg::fence::{self, Remains};
use jogi_pg::guard::{self, CommandError, Start, StartAs};
use jogi_pg::instance::Instance;
use jogi_pg::postmaster::{self, Signal};
use jogi_pg::process::start_spec;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::guard::Child;
use super::{Ended, Shared, blocking, set_up};

/// While a promotion is waited for, how often the guard is asked whether it has missed to tell.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long the guard may take to answer while a promotion is waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// How often what is left of a server is looked for, when nothing is to be killed.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Shared {
    /// The guard, with the lease that is held now on its page: a new guard has an empty one.
    async fn synced_guard(&self) -> Result<guard::Client, Failure> {
        let client = self.guard.client().await?;
        self.keeper.synced().await?;
        Ok(client)
    }

    pub(super) async fn reload(&self, instance: &Instance, _limit: Duration) -> Outcome {
        let data_dir = instance.data_dir().to_owned();
        match blocking(move || postmaster::reload(&data_dir)).await? {
            Ok(true) => Ok(Yield::Done),
            Ok(false) => Err(Failure::Failed("there is no postmaster to reload".into())),
            Err(error) => Err(Failure::Failed(format!("cannot tell the postmaster to reload: {error}"))),
        }
    }

    pub(super) async fn launch(&self, instance: &Instance, as_: LaunchAs, setup: Setup, limit: Duration) -> Outcome {
        let instance = set_up(instance, &setup);
        let client = self.synced_guard().await?;
        let spec = blocking(move || start_spec(&instance, &setup)).await?;
        let spec = spec.map_err(|error| Failure::Failed(error.to_string()))?;
        for warning in &spec.warnings {
            tracing::warn!("{warning}");
        }
        let start_as = match as_ {
            LaunchAs::Standby => StartAs::Standby,
            LaunchAs::Primary { generation } => {
                client.page().arm();
                StartAs::Primary { generation: generation.0 }
            }
            LaunchAs::Bootstrap => {
                client.page().disarm();
                StartAs::Unleased
            }
        };
        let log = server_log().map_err(|error| Failure::Failed(format!("no place for the server's log: {error}")))?;
        let start = Start { program: spec.program, args: spec.args, env: spec.env, log, start_as };
        let started = client.start(start, limit).await.map_err(refused)?;
        let pid = u32::try_from(started.pid).unwrap_or(0);
        self.guard.set_child(Child { pid: Some(pid), adopted: false });
        self.look.launched();
        Ok(Yield::Launched { pid })
    }

    pub(super) async fn signal(&self, instance: &Instance, stop: Stop, limit: Duration) -> Outcome {
        let (through_guard, by_hand) = match stop {
            Stop::Fast => (guard::Stop::Fast, Signal::INT),
            Stop::Immediate => (guard::Stop::Immediate, Signal::QUIT),
        };
        if let Some(client) = self.guard.present() {
            match client.stop(through_guard, limit / 2).await {
                Ok(()) => return Ok(Yield::Done),
                Err(error) => tracing::debug!("{error}; sending the signal without it"),
            }
        }
        let data_dir = instance.data_dir().to_owned();
        match blocking(move || postmaster::signal(&data_dir, by_hand)).await? {
            Ok(true) => Ok(Yield::Done),
            Ok(false) => Err(Failure::Failed("there is no postmaster to signal".into())),
            Err(error) => Err(Failure::Failed(format!("cannot signal the postmaster: {error}"))),
        }
    }

    /// Waits until nothing of the server is left. Needs no guard; one that is there is told, so that it does not
    /// start or promote in between.
    pub(super) async fn fence(&self, instance: &Instance, kill: bool, limit: Duration) -> Outcome {
        let data_dir = instance.data_dir().to_owned();
        let until = boot_now() + limit;
        let left =
            blocking(move || if kill { fence::kill_all(&data_dir, until) } else { wait_for_end(&data_dir, until) });
        match left.await? {
            Ok(left) if left.is_fenced() => Ok(Yield::Done),
            Ok(left) => Err(Failure::Failed(format!(
                "{} processes of the server are left (pids {:?}) and {} are attached to its shared memory",
                left.pids.len(),
                left.pids,
                left.attached
            ))),
            Err(error) => Err(Failure::Failed(format!("cannot find out what is left of the server: {error}"))),
        }
    }

    /// Done when recovery has ended: the server is writable.
    pub(super) async fn promote(&self, generation: Generation, limit: Duration) -> Outcome {
        let client = self.synced_guard().await?;
        let events = self.guard.events();
        client.page().arm();
        let until = boot_now() + limit;
        client.promote(generation.0, limit).await.map_err(refused)?;
        promoted(&client, events, generation, until).await
    }

    /// Whether the guard has to end this server when the lease runs out.
    pub(super) async fn arm(&self, instance: &Instance, armed: Option<Generation>, limit: Duration) -> Ended {
        let adopted_before = self.guard.child().adopted;
        let outcome = self.set_arms(instance, armed, limit).await;
        let adopted = self.guard.child().adopted && !adopted_before;
        Ended { before: adopted.then_some(Event::Guard(GuardNews::Adopted(true))), outcome }
    }

    async fn set_arms(&self, instance: &Instance, armed: Option<Generation>, limit: Duration) -> Outcome {
        let client = self.synced_guard().await?;
        match armed {
            Some(generation) => {
                self.in_charge(&client, instance, generation).await?;
                client.hold(generation.0, limit).await.map_err(refused)?;
                client.page().arm();
            }
            None => client.page().disarm(),
        }
        Ok(Yield::Done)
    }

    /// A running server that no look has shown to the guard yet is put into its charge before it is armed.
    async fn in_charge(
        &self,
        client: &guard::Client,
        instance: &Instance,
        generation: Generation,
    ) -> Result<(), Failure> {
        if self.guard.child().pid.is_some() {
            return Ok(());
        }
        let data_dir = instance.data_dir().to_owned();
        let Ok(Some(found)) = blocking(move || postmaster::find(&data_dir)).await? else { return Ok(()) };
        let role = StartAs::Primary { generation: generation.0 };
        self.guard.adopt(client, found.pid(), role).await.map_err(refused)
    }
}

/// Waits for the guard's word on a promotion, asking when it has been silent for long.
async fn promoted(
    client: &guard::Client,
    mut events: broadcast::Receiver<guard::Event>,
    generation: Generation,
    until: Tick,
) -> Outcome {
    loop {
        let left = until.since(boot_now());
        if left.is_zero() {
            return Err(Failure::Failed("recovery has not ended; the server's log says why".into()));
        }
        match tokio::time::timeout(left.min(ASK_AGAIN), events.recv()).await {
            Ok(Ok(guard::Event::Promoted { generation: under })) if under == generation.0 => return Ok(Yield::Done),
            Ok(Ok(guard::Event::PromoteFailed { errno })) => {
                let cause = std::io::Error::from_raw_os_error(errno);
                return Err(Failure::Failed(format!("the promotion could not be asked for: {cause}")));
            }
            Ok(Ok(guard::Event::Exited(exit))) => {
                let text = crate::gather::guard::how_it_ended(exit.how);
                return Err(Failure::Failed(format!("the postmaster ended while it was promoted: {text}")));
            }
            Ok(Ok(guard::Event::Died | guard::Event::Lost { .. }) | Err(RecvError::Closed)) => {
                return Err(Failure::Failed("the guard was lost during the promotion".into()));
            }
            Ok(Ok(guard::Event::Promoted { .. } | guard::Event::Fenced | guard::Event::Acted { .. })) => {}
            Ok(Err(RecvError::Lagged(_))) | Err(_) => {
                let status = client.status(ANSWER.min(left)).await.map_err(refused)?;
                if !status.promoting && status.role == Some(StartAs::Primary { generation: generation.0 }) {
                    return Ok(Yield::Done);
                }
            }
        }
    }
}

fn refused(error: CommandError) -> Failure {
    match error {
        CommandError::Refused { .. } => Failure::Refused(error.to_string()),
        CommandError::Timeout { .. } | CommandError::Disconnected { .. } | CommandError::Send { .. } => {
            Failure::Failed(error.to_string())
        }
    }
}

fn wait_for_end(data_dir: &std::path::Path, until: Tick) -> std::io::Result<Remains> {
    loop {
        let left = fence::remains(data_dir)?;
        if left.is_fenced() || boot_now() >= until {
            return Ok(left);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The server logs to where we log: our standard error, inherited, so that it goes on without us.
fn server_log() -> std::io::Result<OwnedFd> {
    match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(log) => Ok(log),
        Err(_) => Ok(std::fs::OpenOptions::new().write(true).open("/dev/null")?.into()),
    }
}
