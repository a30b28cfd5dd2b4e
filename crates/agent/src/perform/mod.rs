//! Carrying out effects: one file per family. Each does one thing with one deadline and never chooses a next
//! step; what came of it goes back to the core, which does.
//!
//! Whatever may block (files, `/proc`, `fsync`) runs on the runtime's bounded pool of blocking threads; a stuck disk
//! holds one of them and its own lane, and nothing else.

mod callbacks;
mod files;
mod guard;
mod live;
mod lock;
mod look;
mod names;
mod peers;
mod programs;
mod scripts;
mod server;
mod slots;
mod sql;
mod store;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use jogi_core::ha::{Act, Event, Failure, Outcome, Setup, Yield};
use jogi_dcs::Dcs;
use jogi_pg::instance::Instance;
use jogi_pg::programs::{Cancel, ProgramError};
use jogi_pg::rundir::RunDir;

pub(crate) use files::recorded;
pub(crate) use guard::{Attached, Guard, GuardOptions};
pub(crate) use live::LiveLook;

use crate::keeper::KeeperHandle;
use crate::watchdog::Watchdog;
use callbacks::Callbacks;
use look::Look;
use peers::Peers;

/// Everything that effects are carried out on; cheap to clone.
#[derive(Clone)]
pub(crate) struct Performer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    instance: ArcSwap<Instance>,
    peers: ArcSwap<Peers>,
    dcs: Arc<dyn Dcs>,
    admitted: Arc<AtomicBool>,
    keeper: KeeperHandle,
    guard: Guard,
    rundir: Arc<RunDir>,
    watchdog: Arc<Watchdog>,
    look: Look,
    callbacks: Callbacks,
}

/// What came of an effect, and what was learned on the way: handed to the core in this order.
pub(crate) struct Ended {
    pub before: Option<Event>,
    pub outcome: Outcome,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Ended {
        Ended { before: None, outcome }
    }
}

/// What a performer is made of.
pub(crate) struct Parts {
    pub instance: Instance,
    pub dcs: Arc<dyn Dcs>,
    /// Whether this member takes part already: nothing is asked of the store before.
    pub admitted: Arc<AtomicBool>,
    pub keeper: KeeperHandle,
    pub guard: Guard,
    pub rundir: Arc<RunDir>,
    /// The one that the keeper pings.
    pub watchdog: Arc<Watchdog>,
}

impl Performer {
    pub(crate) fn new(parts: Parts) -> Result<Performer, jogi_net::http::HttpError> {
        let peers = Peers::new(&parts.instance.local)?;
        let shared = Shared {
            instance: ArcSwap::from_pointee(parts.instance),
            peers: ArcSwap::from_pointee(peers),
            dcs: parts.dcs,
            admitted: parts.admitted,
            keeper: parts.keeper,
            guard: parts.guard,
            rundir: parts.rundir,
            watchdog: parts.watchdog,
            look: Look::new(),
            callbacks: Callbacks::default(),
        };
        Ok(Performer { shared: Arc::new(shared) })
    }

    /// The server as it is configured now.
    pub(crate) fn instance(&self) -> Arc<Instance> {
        self.shared.instance.load_full()
    }

    /// Another configuration: what is under way keeps the one it began with.
    pub(crate) fn configure(&self, instance: Instance) -> Result<(), jogi_net::http::HttpError> {
        let before = self.instance();
        let same_clients = before.local.ctl == instance.local.ctl && before.local.restapi == instance.local.restapi;
        if !same_clients {
            self.shared.peers.store(Arc::new(Peers::new(&instance.local)?));
        }
        self.shared.instance.store(Arc::new(instance));
        Ok(())
    }

    /// Carries out one effect. `limit` is when the work ends itself; what cannot be ended goes on.
    pub(crate) async fn perform(self, act: Act, limit: Duration, mut cancel: Cancel) -> Ended {
        let shared = &*self.shared;
        let instance = self.instance();
        match act {
            Act::Acquire { expect } => shared.acquire(expect, limit).await.into(),
            Act::Release { status } => shared.release(status, limit).await.into(),
            Act::ReleaseStale { created, status } => shared.release_stale(created, status, limit).await.into(),

            Act::Load => shared.load(limit).await,
            Act::Write(write) => shared.write(&write, limit).await.into(),

            Act::Look => shared.look(&instance, limit).await,
            Act::Compare { upstream } => unless(&mut cancel, shared.compare(&instance, &upstream, limit)).await.into(),
            Act::FindEndOfWal => look::end_of_wal(&instance, limit).await.into(),
            Act::ReadHistory { timeline } => look::history(&instance, timeline, limit).await.into(),
            Act::Ask { member, api_url } => self.peers().ask(&member, &api_url, limit).await.into(),
            Act::AskFailsafe { member, api_url, body } => {
                self.peers().ask_failsafe(&member, &api_url, &body, limit).await.into()
            }

            Act::Intend { intent } => shared.intend(intent, limit).await.into(),
            Act::Settle => shared.settle(limit).await.into(),
            Act::Configure { setup } => shared.configure(&instance, setup, limit).await.into(),
            Act::SaveDynamic { config } => files::save_dynamic(&instance, config, limit).await.into(),
            Act::PutAside { suffix } => files::put_aside(&instance, suffix, limit).await.into(),
            Act::RemoveCopies { keep_diverged } => files::remove_copies(&instance, keep_diverged, cancel).await.into(),

            Act::Reload => shared.reload(&instance, limit).await.into(),
            Act::SyncNames { setup } => names::put(&instance, setup, limit).await.into(),
            Act::Launch { as_, setup } => shared.launch(&instance, as_, setup, limit).await.into(),
            Act::Signal { stop } => shared.signal(&instance, stop, limit).await.into(),
            Act::Fence { kill } => shared.fence(&instance, kill, limit).await.into(),
            Act::Promote { generation } => shared.promote(generation, limit).await.into(),
            Act::ReserveTimelines { above, up_to } => files::reserve_timelines(&instance, above, up_to).await.into(),
            Act::Arm { armed } => shared.arm(&instance, armed, limit).await,

            Act::OpenWatchdog { seconds } => shared.open_watchdog(&instance, seconds).await.into(),
            Act::CloseWatchdog => shared.close_watchdog().await.into(),
            Act::TryWatchdog => shared.try_watchdog(&instance).await.into(),

            Act::Initdb => programs::initdb(&instance, limit, &mut cancel).await.into(),
            Act::Clone { source, basebackup_only } => {
                programs::clone_data(&instance, source.as_ref(), basebackup_only, limit, &mut cancel).await.into()
            }
            Act::SingleUser => programs::single_user(&instance, limit, &mut cancel).await.into(),
            Act::Rewind { source } => programs::rewind(&instance, &source, limit, &mut cancel).await.into(),
            Act::ArchivePending => programs::archive_pending(&instance, limit, &mut cancel).await.into(),
            Act::ArchiveShutdown => programs::archive_shutdown(&instance, limit, &mut cancel).await.into(),
            Act::PostBootstrap => programs::post_bootstrap(&instance, limit, &mut cancel).await.into(),

            Act::Checkpoint => unless(&mut cancel, sql::checkpoint(&instance, limit)).await.into(),
            Act::ResumeReplay => unless(&mut cancel, sql::resume_replay(&instance, limit)).await.into(),
            Act::Slots { plan } => unless(&mut cancel, slots::change(&instance, &plan, limit)).await.into(),
            Act::LogicalSlots { plan } => unless(&mut cancel, slots::work(&instance, &plan, limit)).await.into(),
            Act::AskHorizon { from, slots } => {
                unless(&mut cancel, slots::horizon(&instance, &from, &slots, limit)).await.into()
            }
            Act::FetchSlots { from, slots } => slots::fetch(&instance, &from, &slots, limit).await.into(),
            Act::InstallSlots { slots } => slots::install(&instance, slots).await.into(),

            Act::Script { script } => scripts::run(&instance, script, limit, &mut cancel).await.into(),
            Act::Callback { action, role } => shared.callbacks.run(&instance, action, role, limit).await.into(),

            // Carried out by the runtime itself, where requests and the end of the process are at home.
            Act::Cancel { .. } | Act::Reply { .. } | Act::Exit { .. } => Ok(Yield::Done).into(),
        }
    }

    fn peers(&self) -> Arc<Peers> {
        self.shared.peers.load_full()
    }
}

/// The instance under the dynamic configuration that a setup names.
fn set_up(instance: &Instance, setup: &Setup) -> Instance {
    instance.with_dynamic(Arc::clone(&setup.dynamic))
}

/// Runs what may block on a thread of the pool. When the time is over the work goes on, and so does its effect:
/// the deadline of the effect is the runtime's to watch.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::Failed("an internal error ended the work; the log has it".into()))
}

/// Gives up what has no end of its own to wait for: a query or a request, when cancelled.
async fn unless(cancel: &mut Cancel, work: impl Future<Output = Outcome>) -> Outcome {
    tokio::select! {
        outcome = work => outcome,
        () = cancel.requested() => Err(Failure::Cancelled),
    }
}

/// The end of a program or a script, as an outcome.
fn program_ended(ended: Result<(), ProgramError>, cancel: &Cancel) -> Outcome {
    match ended {
        Ok(()) => Ok(Yield::Done),
        Err(_) if cancel.is_requested() => Err(Failure::Cancelled),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}
