//! From the command line to the decision loop: read, check, refuse with a sentence what makes no sense, attach to
//! what an earlier agent left, begin.
//!
//! Nothing is changed on disk or in the store before everything that can be refused has been looked at. The store may
//! be silent for as long as it likes: then the loop begins without it, since a server that is writable without a
//! lease must be closed all the same, and takes part ([`admission`]) when the store has answered.

mod admission;
mod prepare;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use jogi_core::ha::{Event, Found, Generation, Ha, Intent};
use jogi_core::lease::keeper::Adopted;
use jogi_dcs::{Dcs, View};
use jogi_net::boot_now;
use jogi_pg::guard::LeaseIdentity;
use jogi_pg::instance::Instance;
use jogi_pg::rundir::RunDir;
use tokio::sync::{mpsc, watch};

use crate::gather::{self, signals::Signals};
use crate::glue::REQUESTS;
use crate::keeper;
use crate::local::rules;
use crate::logging::panics::{self, Vital};
use crate::notify;
use crate::perform::{self, Attached, Guard, GuardOptions, LiveLook, Performer};
use crate::record::Record;
use crate::rest;
use crate::runtime::{self, Exit, INBOX, Reloader, Runtime};
use crate::source::Source;
use crate::watchdog::Watchdog;
use admission::Admission;
use prepare::{Prepared, prepare};

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration's file or directory.
    pub config: Option<PathBuf>,
    /// This very program, which is the guard when called so.
    pub exe: PathBuf,
}

/// Threads for work that may block. Each lane holds at most one; callbacks and saved files come on top.
const BLOCKING_THREADS: usize = 16;
/// An idle one is given back after this long.
const BLOCKING_IDLE: Duration = Duration::from_secs(5);
/// At the end, how long a guard without a server may take to go.
const GUARD_QUITS: Duration = Duration::from_secs(1);
/// Connections to guards waiting to be followed: one, and one more after a quick death.
const ATTACHED: usize = 4;

/// Runs the agent until it is told to end or must; ends the process.
pub fn main(options: Options) -> ! {
    notify::set_socket(std::env::var_os("NOTIFY_SOCKET"));
    let source = Source::new(options.config.clone());
    let prepared = match prepare(source) {
        Ok(prepared) => prepared,
        Err(refusal) => end(&Exit { code: 1, why: refusal.to_string() }),
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).thread_keep_alive(BLOCKING_IDLE);
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => end(&Exit { code: 1, why: format!("cannot start the agent's runtime: {error}") }),
    };
    let exit = runtime.block_on(Vital::new(run(prepared, options.exe)));
    end(&exit)
}

/// Says why, and ends the process.
fn end(exit: &Exit) -> ! {
    match (exit.code, crate::logging::Logging::current()) {
        (0, _) => tracing::info!("the agent ends: {}", exit.why),
        (_, Some(_)) => tracing::error!(critical = true, "{}", exit.why),
        (_, None) => eprintln!("{}", exit.why),
    }
    panics::finish(exit.code)
}

async fn run(prepared: Prepared, exe: PathBuf) -> Exit {
    match begin(prepared, exe).await {
        Ok(exit) => exit,
        Err(refusal) => Exit { code: 1, why: refusal.to_string() },
    }
}

async fn begin(prepared: Prepared, exe: PathBuf) -> anyhow::Result<Exit> {
    let Prepared { source, instance, rundir, intent } = prepared;
    let mut signals = Signals::listen()?;
    let dcs = jogi_dcs::connect(&instance.local)?;
    let first = match store::first_try(&*dcs, &mut signals).await? {
        store::First::View(view) => {
            store::refuse_twin(&instance.local, &view.cluster).await?;
            Some(view)
        }
        store::First::Silent(why) => {
            tracing::error!("the store at {} does not answer (trying on): {why}", dcs.describe());
            None
        }
        store::First::AskedToEnd => {
            return Ok(Exit { code: 0, why: "asked to end while waiting for the store".into() });
        }
    };

    let (attached, attachments) = mpsc::channel(ATTACHED);
    let rundir = Arc::new(rundir);
    let guard = Guard::new(GuardOptions { rundir: Arc::clone(&rundir), exe }, attached);
    guard.client().await.map_err(|failure| anyhow::anyhow!("there is no guard: {failure}"))?;
    let lead = Lead { source, instance, rundir, intent, signals, dcs, first, guard: guard.clone(), attachments };
    let exit = lead.run().await;
    dismiss(&guard).await;
    exit
}

/// Everything that the loop begins with.
struct Lead {
    source: Source,
    instance: Instance,
    rundir: Arc<RunDir>,
    intent: Option<Intent>,
    signals: Signals,
    dcs: Arc<dyn Dcs>,
    /// `None`: the store is silent.
    first: Option<View>,
    guard: Guard,
    attachments: mpsc::Receiver<Attached>,
}

impl Lead {
    async fn run(self) -> anyhow::Result<Exit> {
        let Lead { source, instance, rundir, intent, signals, dcs, first, guard, attachments } = self;
        let adopted = first.as_ref().and_then(|view| adoptable(&guard, view, &instance.local.name));
        let armed = match &first {
            Some(_) => adopted.as_ref().map(|adopted| adopted.generation),
            None => standing(&guard),
        };
        let (sender, inbox) = mpsc::channel(INBOX);
        let weaken = jogi_pg::weaken::asked();
        if !weaken.is_empty() {
            tracing::warn!("protections are switched off for a test: {weaken:?}");
        }
        let ha = Ha::new(rules(&instance)).weakened(weaken);
        let published = Arc::new(ArcSwap::from_pointee(ha.snapshot(jogi_net::now())));
        let (configured, configuration) = watch::channel(Arc::clone(&instance.local));
        let (ask, requests) = mpsc::channel(REQUESTS);
        let watchdog = Arc::new(Watchdog::default());
        let (keeper, leases) = keeper::spawn(keeper::Options {
            name: instance.local.name.clone(),
            dcs: dcs.sibling()?,
            page: guard.page(),
            ttl: published.load().settings.ttl,
            adopt: adopted,
            watchdog: Arc::clone(&watchdog),
        })?;
        let dynamic = prepare::saved_dynamic(&instance.local);
        let reloader = Reloader::new(source, configured, &instance);
        let local = Arc::clone(&instance.local);
        let record = Record::open(rundir.path());
        let admitted = Arc::new(AtomicBool::new(false));
        let performer = Performer::new(perform::Parts {
            instance,
            dcs: Arc::clone(&dcs),
            admitted: Arc::clone(&admitted),
            keeper: keeper.clone(),
            guard: guard.clone(),
            rundir,
            watchdog,
        })?;
        let admission = Admission {
            local,
            rest: rest::Options {
                configuration,
                published: Arc::clone(&published),
                requests: ask,
                dcs: Arc::clone(&dcs),
                keeper: keeper.clone(),
                live: Arc::new(LiveLook::new(performer.clone())),
                record: record.clone(),
            },
            dcs,
            guard: guard.clone(),
            keeper: keeper.clone(),
            inbox: sender.clone(),
            admitted,
        };
        tokio::spawn(gather::guard::follow(guard, attachments, sender.clone()));
        tokio::spawn(gather::lease::follow(leases, sender.clone()));
        tokio::spawn(signals.follow(sender.clone()));
        match first {
            Some(view) => admission.enter(view).await?,
            None => _ = tokio::spawn(admission.wait()),
        }
        let inbox = (sender, inbox);
        let parts = runtime::Parts { ha, performer, keeper, published, inbox, requests, reloader, record };
        let runtime = Runtime::new(parts)?;
        tracing::info!("the agent has begun");
        Ok(runtime.run(Event::Began(Found { intent, armed, dynamic })).await)
    }
}

/// The lock that an earlier agent held, if all of the guard's page says that it may be carried on.
fn adoptable(guard: &Guard, view: &View, name: &jogi_core::MemberName) -> Option<Adopted> {
    let leader = view.cluster.leader.as_ref().filter(|leader| leader.name == *name)?;
    let session = leader.session.clone()?;
    let page = guard.page().borrow().clone()?;
    let found = page.adoptable(LeaseIdentity::new(&session.0, &leader.created.0), boot_now())?;
    tracing::info!(generation = found.lease.generation, "carrying on the leader lock of an earlier agent");
    Some(Adopted {
        session,
        created: leader.created.clone(),
        generation: Generation(found.lease.generation),
        ttl: (!found.ttl.is_zero()).then_some(found.ttl),
    })
}

/// The lock that the guard still holds the server to, of which the store has not been asked yet.
fn standing(guard: &Guard) -> Option<Generation> {
    let lease = guard.page().borrow().clone()?.lease()?.lease;
    let stands = lease.generation != 0 && boot_now() < lease.deadlines.valid_until;
    stands.then_some(Generation(lease.generation))
}

/// A guard that has no server any more has nothing to do; one that has stays.
async fn dismiss(guard: &Guard) {
    if let Some(client) = guard.present()
        && let Err(error) = client.quit(GUARD_QUITS).await
    {
        tracing::debug!("the guard stays: {error}");
    }
}
