//! The thread: carries inputs to the machine and what it yields to the store, the page and the handles.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use jogi_core::ha::{Cover, Failure, Lease, Promises};
use jogi_core::lease::Keeper;
use jogi_core::lease::keeper::{self, Answer, Ask, Input, Page, Ticket, Wire};
use jogi_core::view::Leader;
use jogi_core::{Tick, Weakness};
use jogi_dcs::Dcs;
use jogi_net::boot_now;
use jogi_pg::guard::LeaseIdentity;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::{Command, Options, Reply, Shared, store};
use crate::glue::GuardPage;
use crate::logging::panics::Vital;
use crate::timer::BootTimer;
use crate::watchdog::Watchdog;

/// The thread needs little; most of it is what a TLS handshake takes.
const STACK: usize = 1 << 20;

pub(super) fn start(
    options: Options,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    news: watch::Sender<Lease>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    let timer = {
        let _entered = runtime.enter();
        BootTimer::new()?
    };
    let builder = std::thread::Builder::new().name("lease-keeper".into()).stack_size(STACK);
    builder.spawn(move || {
        let bomb = EndsProcess;
        let thread = Thread::new(options, shared, commands, news, timer);
        runtime.block_on(Vital::new(thread.run()));
        std::mem::forget(bomb);
    })?;
    Ok(())
}

/// Dropped by a panic: without its keeper the process must not go on.
struct EndsProcess;

impl Drop for EndsProcess {
    fn drop(&mut self) {
        std::process::abort();
    }
}

type Flight = Pin<Box<dyn Future<Output = (u64, Answer)> + Send>>;

struct Thread {
    machine: Keeper,
    dcs: Arc<dyn Dcs>,
    page: GuardPage,
    page_lives: bool,
    watchdog: Arc<Watchdog>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    news: watch::Sender<Lease>,
    timer: BootTimer,
    flights: BTreeMap<Wire, Flight>,
    waiting: BTreeMap<Ticket, Reply>,
    last_ticket: u64,
    shown: Option<Page>,
    permitted_until: Tick,
    promises: watch::Receiver<Option<Promises>>,
    promised: Option<Promises>,
    ttl: Duration,
    /// Requests in a row without an answer, for the log.
    silent: u32,
    /// The leader key as last read.
    believed: Option<Leader>,
}

impl Thread {
    fn new(
        options: Options,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        news: watch::Sender<Lease>,
        timer: BootTimer,
    ) -> Thread {
        let promises = shared.promises.subscribe();
        let seed = jogi_net::random_u64();
        let machine = keeper::Options { name: options.name, ttl: options.ttl, seed, adopt: options.adopt };
        Thread {
            machine: Keeper::new(machine, boot_now()),
            dcs: options.dcs,
            page: options.page,
            page_lives: true,
            watchdog: options.watchdog,
            shared,
            commands,
            news,
            timer,
            flights: BTreeMap::new(),
            waiting: BTreeMap::new(),
            last_ticket: 0,
            shown: None,
            permitted_until: Tick::ZERO,
            promises,
            promised: None,
            ttl: options.ttl,
            silent: 0,
            believed: None,
        }
    }

    async fn run(mut self) {
        loop {
            self.take_orders();
            self.deliver();
            self.mark_starved();
            let deadline = self.machine.poll_timeout().map(|(at, _)| at);
            // A timer that cannot be set is a keeper without deadlines: it must not go on.
            self.timer.set(deadline).expect("a timerfd takes any absolute time");
            tokio::select! {
                biased;
                (wire, id, answer) = landed(&mut self.flights) => {
                    self.flights.remove(&wire);
                    self.note(&answer);
                    if let Answer::Extended { leader: Some(leader) } = &answer {
                        self.believed = Some(leader.clone());
                    }
                    self.tell(Input::Answer { id, answer });
                }
                () = self.timer.elapsed() => self.tell(Input::Timeout),
                changed = self.page.changed(), if self.page_lives => {
                    self.page_lives = changed.is_ok();
                    self.shown = None;
                }
                () = self.shared.wake.notified() => {}
                // The sender is ours as well, so it never closes.
                Ok(()) = self.promises.changed() => {}
                command = self.commands.recv() => match command {
                    Some(Command::Stop) | None => return,
                    Some(command) => self.command(command),
                },
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.machine.handle(input, boot_now());
    }

    /// What the handles have left without a command.
    fn take_orders(&mut self) {
        let ttl = Duration::from_nanos(self.shared.ttl.load(SeqCst));
        if ttl != self.ttl {
            self.ttl = ttl;
            self.tell(Input::SetTtl(ttl));
        }
        let until = Tick(self.shared.permitted_until.load(SeqCst));
        if until != self.permitted_until {
            self.permitted_until = until;
            self.tell(Input::Permit { until });
        }
        // Waiting for a change marks it as seen, so what counts is what the machine was told last.
        let promises = *self.promises.borrow_and_update();
        if promises != self.promised {
            self.promised = promises;
            self.tell(Input::Promised(promises));
        }
    }

    /// A permission that comes after this wakes the thread; one that came just before it is taken now.
    fn mark_starved(&mut self) {
        let starved = self.machine.waits_for_permission(boot_now());
        self.shared.starved.store(starved, SeqCst);
        if starved && self.shared.permitted_until.load(SeqCst) != self.permitted_until.0 {
            self.take_orders();
            self.deliver();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Acquire { expect, deadline, reply } => {
                let ticket = self.ticket(reply);
                self.tell(Input::Acquire { ticket, expect, deadline });
            }
            Command::Release { status, deadline, reply } => {
                let ticket = self.ticket(reply);
                self.tell(Input::Release { ticket, status, deadline });
            }
            Command::ReleaseStale { created, status, deadline, reply } => {
                let ticket = self.ticket(reply);
                self.tell(Input::ReleaseStale { ticket, created, status, deadline });
            }
            Command::Adopt(adopted) => self.tell(Input::Adopt(adopted)),
            Command::Sync(reply) => {
                self.shown = None;
                self.publish();
                let _ = reply.send(());
            }
            Command::Stop => {}
        }
    }

    fn ticket(&mut self, reply: Reply) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.waiting.insert(ticket, reply);
        ticket
    }

    /// The page first, then everybody who asks, then requests, then results: nobody is told of a lock that the guard
    /// does not know, and no release is sent while the page still shows the lock.
    fn deliver(&mut self) {
        self.publish();
        while let Some(request) = self.machine.poll_request() {
            let (dcs, id) = (Arc::clone(&self.dcs), request.id);
            let (ask, limit) = (request.ask, request.limit);
            let believed = self.believed.clone().filter(|_| counts_errors(&ask));
            let limit = if believed.is_some() { limit / 2 } else { limit };
            let answer = async move { (id, or_believed(store::ask(dcs, ask, limit).await, believed)) };
            self.flights.insert(request.wire, Box::pin(answer));
        }
        while let Some((ticket, result)) = self.machine.poll_result() {
            if let Some(reply) = self.waiting.remove(&ticket) {
                let _ = reply.send(result);
            }
        }
    }

    fn publish(&mut self) {
        if self.machine.page() != self.shown.as_ref() {
            self.shown = self.machine.page().cloned();
            if let (Some(shown), Some(page)) = (&self.shown, &*self.page.borrow_and_update()) {
                let identity = LeaseIdentity::new(&shown.session.0, &shown.created.0);
                page.renew(identity, shown.generation.0, shown.ttl, &shown.deadlines);
            }
            if let Some(shown) = &self.shown {
                self.watchdog.ping(shown.deadlines.valid_until);
            }
        }
        self.shared.valid_until.store(self.machine.valid_until().0, SeqCst);
        let lease = self.machine.lease();
        let told = self.news.borrow().clone();
        if told != lease {
            log_change(&told, &lease);
            self.news.send_replace(lease);
        }
    }

    /// One line when the store falls silent and one when it answers again.
    fn note(&mut self, answer: &Answer) {
        match answer {
            Answer::Nothing(why) => {
                self.silent = self.silent.saturating_add(1);
                match self.silent {
                    1 => warn!("lease keeper: {why}; trying again"),
                    _ => debug!(tries = self.silent, "lease keeper: {why}"),
                }
            }
            Answer::Opened(_)
            | Answer::Extended { .. }
            | Answer::SessionGone
            | Answer::Ours { .. }
            | Answer::Conflict
            | Answer::Released(_) => {
                if self.silent > 0 {
                    info!(tries = self.silent, "lease keeper: {} answers again", self.dcs.describe());
                }
                self.silent = 0;
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.valid_until.store(0, SeqCst);
        for (_, reply) in std::mem::take(&mut self.waiting) {
            let _ = reply.send(Err(Failure::Failed("the lease keeper has ended".into())));
        }
    }
}

/// The next answer of any flight; never ends without one.
/// The weakness that tests take: an error of the store counts as a renewal.
fn counts_errors(ask: &Ask) -> bool {
    jogi_pg::weaken::asked().has(Weakness::CountErrors) && matches!(ask, Ask::Beat { read_leader: true, .. })
}

fn or_believed(answer: Answer, believed: Option<Leader>) -> Answer {
    match (answer, believed) {
        (Answer::Nothing(_), Some(leader)) => Answer::Extended { leader: Some(leader) },
        (answer, _) => answer,
    }
}

async fn landed(flights: &mut BTreeMap<Wire, Flight>) -> (Wire, u64, Answer) {
    std::future::poll_fn(|context| {
        for (wire, flight) in flights.iter_mut() {
            if let std::task::Poll::Ready((id, answer)) = flight.as_mut().poll(context) {
                return std::task::Poll::Ready((*wire, id, answer));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn log_change(before: &Lease, after: &Lease) {
    match (&before.lock, &after.lock) {
        (None, Some(lock)) => {
            info!(generation = lock.generation.0, created = %lock.created.0, "the leader lock is ours")
        }
        (Some(_), None) => match &after.lost {
            Some(why) => warn!("the leader lock is lost: {why}"),
            None => info!("the leader lock is given up"),
        },
        (Some(old), Some(new)) if old.cover != new.cover => match new.cover {
            Cover::Lease => info!("the store's lease alone covers the leader lock"),
            Cover::Both => warn!("the other members' promises cover the leader lock beside the store's lease"),
            Cover::Promises => warn!("the leader key is gone from the store: promises alone cover this leader"),
        },
        (None, None) | (Some(_), Some(_)) => {}
    }
    if before.session != after.session {
        match &after.session {
            Some(session) => debug!(session = %session.0, "a session with the store is open"),
            None => debug!("there is no session with the store"),
        }
    }
}
