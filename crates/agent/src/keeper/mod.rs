//! The lease keeper: the thread that runs [`jogi_core::lease::Keeper`] against the store.
//!
//! Guarantees:
//! - It has a thread, a runtime and connections of its own and takes no lock that logging or work holds: no query,
//!   disk, program or blocked terminal can delay a heartbeat.
//! - Its deadlines are on the boot clock (timerfd), so a suspended host wakes up to a lease that has run out.
//! - Every counted renewal is on the guard's page before anybody is told of it, and a lost or released lock is off the
//!   page before that is told.
//! - A panic ends the process: the lease runs out and the guard closes the server.
//!
//! It decides nothing: the schedule is the machine's, what to do about a lock the core's.

mod store;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use jogi_core::ha::{Failure, Lease, Promises, Taken};
use jogi_core::lease::keeper::{Adopted, Outcome};
use jogi_core::view::{Expect, Revision};
use jogi_core::{MemberName, Tick};
use jogi_dcs::Dcs;
use jogi_net::boot_now;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::glue::GuardPage;
use crate::watchdog::Watchdog;

/// Commands on their way to the thread. The core has one at a time on the lock's lane; the rest is room for adoption
/// and synchronisation.
const COMMANDS: usize = 16;

/// The machine answers every command at its deadline. Should the thread be stopped (SIGSTOP, starved), the caller
/// still gets an answer this much later.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// What a keeper is made of.
pub struct Options {
    pub name: MemberName,
    /// A client for the keeper alone: see [`Dcs::sibling`].
    pub dcs: Arc<dyn Dcs>,
    pub page: GuardPage,
    pub ttl: Duration,
    /// The lock of an earlier agent, as store and guard agree on it.
    pub adopt: Option<Adopted>,
    /// Pinged with every renewal that counts.
    pub watchdog: Arc<Watchdog>,
}

/// What the thread and its handles share without a lock.
#[derive(Debug, Default)]
struct Shared {
    /// Zero without the lock.
    valid_until: AtomicU64,
    permitted_until: AtomicU64,
    /// Nanoseconds.
    ttl: AtomicU64,
    /// Something waits for permission: the next one must wake the thread.
    starved: AtomicBool,
    wake: Notify,
    /// The newest only: what the core counted on before does not matter.
    promises: watch::Sender<Option<Promises>>,
}

enum Command {
    Acquire {
        expect: Expect,
        deadline: Tick,
        reply: Reply,
    },
    Release {
        status: Option<String>,
        deadline: Tick,
        reply: Reply,
    },
    ReleaseStale {
        created: Revision,
        status: Option<String>,
        deadline: Tick,
        reply: Reply,
    },
    Adopt(Adopted),
    /// Answered when everything before it is published.
    Sync(oneshot::Sender<()>),
    Stop,
}

type Reply = oneshot::Sender<Result<Outcome, Failure>>;

/// Talks to the keeper; cheap to clone.
#[derive(Clone)]
pub struct KeeperHandle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// Starts the thread. The receiver has the newest state of session and lock, told on every change and after every
/// counted beat; it closes when the keeper ends.
pub fn spawn(options: Options) -> io::Result<(KeeperHandle, watch::Receiver<Lease>)> {
    let shared = Arc::new(Shared::default());
    shared.ttl.store(nanos(options.ttl), SeqCst);
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (news, receiver) = watch::channel(Lease::default());
    thread::start(options, Arc::clone(&shared), inbox, news)?;
    Ok((KeeperHandle { commands, shared }, receiver))
}

impl KeeperHandle {
    /// Takes the leader lock if everything in `expect` holds. An answer other than [`Taken`] leaves nothing behind: a
    /// key that turns out to be ours later is deleted.
    pub async fn acquire(&self, expect: Expect, limit: Duration) -> Result<Taken, Failure> {
        let make = |deadline, reply| Command::Acquire { expect, deadline, reply };
        match self.command(limit, make).await? {
            Outcome::Acquired(taken) => Ok(taken),
            Outcome::Released(_) => Err(Failure::Failed("the keeper answered another command".into())),
        }
    }

    /// Stops counting and renewing the lock, then deletes the leader key, with the `status` key's text in the same
    /// transaction where the store can. `false`: it was not ours any more.
    pub async fn release(&self, status: Option<String>, limit: Duration) -> Result<bool, Failure> {
        let make = |deadline, reply| Command::Release { status, deadline, reply };
        released(self.command(limit, make).await?)
    }

    /// Deletes the leader key of the incarnation `created`, which carries our name and is not held by this keeper.
    pub async fn release_stale(
        &self,
        created: Revision,
        status: Option<String>,
        limit: Duration,
    ) -> Result<bool, Failure> {
        let make = |deadline, reply| Command::ReleaseStale { created, status, deadline, reply };
        released(self.command(limit, make).await?)
    }

    /// The lock may be renewed until then, and for one ttl from now at most.
    pub fn permit(&self, until: Tick) {
        self.shared.permitted_until.store(until.0, SeqCst);
        if self.shared.starved.load(SeqCst) {
            self.shared.wake.notify_one();
        }
    }

    /// What the other members have promised counts beside the lease (failsafe mode); `None`: nothing does.
    pub fn promised(&self, promises: Option<Promises>) {
        self.shared.promises.send_if_modified(|told| std::mem::replace(told, promises) != promises);
    }

    /// The ttl of the next session; the lock moves to it.
    pub fn set_ttl(&self, ttl: Duration) {
        if self.shared.ttl.swap(nanos(ttl), SeqCst) != nanos(ttl) {
            self.shared.wake.notify_one();
        }
    }

    /// Carries on the lock of an earlier agent, after the store has confirmed it. Without effect while a lock is held,
    /// taken or released.
    pub async fn adopt(&self, adopted: Adopted) -> Result<(), Failure> {
        self.commands.send(Command::Adopt(adopted)).await.map_err(|_| gone())
    }

    /// Ends when the keeper's state is on the guard's page of now. A command that names a generation to a guard
    /// that has just been started comes after this.
    pub async fn synced(&self) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Sync(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Until when our server may be writable; zero without the lock. Never waits.
    pub fn valid_until(&self) -> Tick {
        Tick(self.shared.valid_until.load(SeqCst))
    }

    /// Ends the thread. Session and lock are left to run out.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
    }

    async fn command(&self, limit: Duration, make: impl FnOnce(Tick, Reply) -> Command) -> Result<Outcome, Failure> {
        let (reply, answer) = oneshot::channel();
        let command = make(boot_now() + limit, reply);
        let asked = async {
            self.commands.send(command).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        match tokio::time::timeout(limit + ANSWER_GRACE, asked).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Unreachable("the lease keeper's thread does not get to run".into())),
        }
    }
}

fn released(outcome: Outcome) -> Result<bool, Failure> {
    match outcome {
        Outcome::Released(was_ours) => Ok(was_ours),
        Outcome::Acquired(_) => Err(Failure::Failed("the keeper answered another command".into())),
    }
}

fn gone() -> Failure {
    Failure::Failed("the lease keeper has ended".into())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl KeeperHandle {
    /// A handle without a keeper behind it.
    pub(crate) fn fixed(valid_until: Tick) -> KeeperHandle {
        let shared = Arc::new(Shared::default());
        shared.valid_until.store(valid_until.0, SeqCst);
        KeeperHandle { commands: mpsc::channel(1).0, shared }
    }
}
