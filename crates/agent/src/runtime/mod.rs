//! The decision loop: take in what happened, let the core decide, begin what it asks for, publish what it is.
//!
//! Guarantees:
//! - The core is driven from one task. Nothing in the loop waits for work, a disk, a peer or a log line.
//! - Each turn renews the keeper's permission. A loop that no longer turns lets it expire, and with it the lease.
//! - Every effect begun is answered to the core exactly once, at its deadline at the latest.
//! - A panic in the loop or the core ends the process; the guard then holds the server to the lease.

mod effects;
mod reload;
mod spoken;

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jogi_core::ha::{
    Act, Effect, EffectId, Event, Failure, Ha, Note, NoteLevel, Outcome, Reply, Request, RequestId, Snapshot, Yield,
};
use jogi_core::{Now, Tick};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::glue::{Asked, Published};
use crate::keeper::KeeperHandle;
use crate::notify;
use crate::perform::Performer;
use crate::record::Record;
use crate::timer::BootTimer;
use effects::Effects;
pub(crate) use reload::{Reloaded, Reloader};
use spoken::Spoken;

/// Inputs that wait for the next turn. Each source waits when it is full, so nothing is lost.
pub(crate) const INBOX: usize = 256;
/// Inputs taken in before their effects are begun: a flood of news must not put off acting on the first.
const BATCH: usize = 64;
/// Requests whose answer is still to come. More than this many are answered with 503.
const WAITING: usize = 512;
/// At the end, how long programs that change the data directory may take to be killed and reaped.
const LAST_EFFECTS: Duration = Duration::from_secs(3);

/// What the loop is told.
pub(crate) enum Input {
    Event(Event),
    /// The work of an effect has ended; what it learned on the way comes first.
    Ended {
        id: EffectId,
        before: Option<Event>,
        outcome: Outcome,
    },
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGHUP.
    Reload,
    /// The configuration has been read again, for a request or a signal.
    Reloaded {
        outcome: Box<Reloaded>,
        reply: Option<oneshot::Sender<Reply>>,
    },
    /// It makes no sense to take part.
    Refused(Exit),
    /// The keeper or the watch is gone: nothing can be decided any more.
    Lost(&'static str),
}

/// Why and with which code the agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub why: String,
}

pub(crate) struct Parts {
    pub ha: Ha,
    pub performer: Performer,
    pub keeper: KeeperHandle,
    pub published: Published,
    pub inbox: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    pub requests: mpsc::Receiver<Asked>,
    pub reloader: Reloader,
    pub record: Record,
}

pub(crate) struct Runtime {
    ha: Ha,
    performer: Performer,
    keeper: KeeperHandle,
    published: Published,
    sender: mpsc::Sender<Input>,
    inbox: mpsc::Receiver<Input>,
    requests: mpsc::Receiver<Asked>,
    reloader: Reloader,
    record: Record,
    timer: BootTimer,
    effects: Effects,
    /// What this very turn has brought and the core has not been told yet.
    ready: VecDeque<Event>,
    waiting: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    last_request: u64,
    dynamic: Arc<Value>,
    ttl: Duration,
    spoken: Spoken,
    terminating: bool,
    refused: Option<Exit>,
}

impl Runtime {
    pub(crate) fn new(parts: Parts) -> std::io::Result<Runtime> {
        let (sender, inbox) = parts.inbox;
        let dynamic = Arc::clone(&parts.performer.instance().dynamic);
        Ok(Runtime {
            ha: parts.ha,
            performer: parts.performer,
            keeper: parts.keeper,
            published: parts.published,
            sender,
            inbox,
            requests: parts.requests,
            reloader: parts.reloader,
            record: parts.record,
            timer: BootTimer::new()?,
            effects: Effects::default(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            last_request: 0,
            dynamic,
            ttl: Duration::ZERO,
            spoken: Spoken::default(),
            terminating: false,
            refused: None,
        })
    }

    /// Runs until the core ends the agent. `first` is the first event: what an earlier agent left.
    pub(crate) async fn run(mut self, first: Event) -> Exit {
        self.tell(first);
        loop {
            if let Some(exit) = self.turn() {
                self.wind_up().await;
                return exit;
            }
            if let Err(error) = self.timer.set(self.next_deadline()) {
                return Exit { code: 1, why: format!("the clock cannot be set: {error}") };
            }
            tokio::select! {
                biased;
                () = self.timer.elapsed() => {}
                Some(input) = self.inbox.recv() => self.take(input),
                Some(asked) = self.requests.recv() => self.ask(asked),
            }
            for _ in 1..BATCH {
                let Ok(input) = self.inbox.try_recv() else { break };
                self.take(input);
            }
        }
    }

    // ---- in

    fn tell(&mut self, event: Event) {
        self.ha.handle(event, jogi_net::now());
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.tell(event),
            Input::Ended { id, before, outcome } => {
                if let Some(before) = before {
                    self.tell(before);
                }
                if let Some(event) = self.effects.ended(id, outcome) {
                    self.tell(event);
                }
            }
            Input::Terminate => self.terminate(),
            Input::Reload => self.reloader.begin(self.sender.clone(), None),
            Input::Reloaded { outcome, reply } => self.reloaded(*outcome, reply),
            Input::Refused(exit) => self.refused = Some(exit),
            // The safe end: the permission is not renewed any more, and the guard holds the server to the lease.
            Input::Lost(what) => panic!("{what} has ended"),
        }
    }

    fn terminate(&mut self) {
        if std::mem::replace(&mut self.terminating, true) {
            tracing::info!("asked to end again; still ending");
            return;
        }
        tracing::info!("asked to end by a signal");
        notify::stopping();
        let id = self.next_request();
        self.tell(Event::Request(id, Request::Shutdown));
    }

    fn ask(&mut self, (request, reply): Asked) {
        match request {
            Request::Reload => self.reloader.begin(self.sender.clone(), Some(reply)),
            request => self.pass_on(request, reply),
        }
    }

    fn pass_on(&mut self, request: Request, reply: oneshot::Sender<Reply>) {
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        if self.waiting.len() >= WAITING {
            let _ = reply.send(Reply::new(503, "too many requests are waiting for an answer"));
            return;
        }
        let id = self.next_request();
        self.waiting.insert(id, reply);
        self.tell(Event::Request(id, request));
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn reloaded(&mut self, outcome: Reloaded, reply: Option<oneshot::Sender<Reply>>) {
        let applied = self.reloader.apply(outcome, &self.performer);
        notify::ready();
        match applied {
            Some(local) => self.tell(Event::Configured(Box::new(local))),
            // Said in the log. Patroni answers the request before it reads the file, so the answer is the same.
            None => {
                if let Some(reply) = reply {
                    let _ = reply.send(Reply::new(202, "reload scheduled"));
                }
                return;
            }
        }
        match reply {
            Some(reply) => self.pass_on(Request::Reload, reply),
            None => {
                let id = self.next_request();
                self.tell(Event::Request(id, Request::Reload));
            }
        }
    }

    // ---- out

    /// Tells the core the time, begins all that it asks for, and publishes what it has become.
    fn turn(&mut self) -> Option<Exit> {
        let mut exit = self.refused.take();
        loop {
            let now = jogi_net::now();
            for event in self.effects.overdue(now.boot) {
                self.ha.handle(event, now);
            }
            if self.ha.poll_timeout().is_some_and(|(at, _)| at <= now.boot) {
                self.ha.handle_timeout(now);
            }
            self.publish(now);
            while let Some(effect) = self.ha.poll_effect() {
                exit = exit.or(self.begin(effect));
            }
            self.say();
            if exit.is_some() || self.ready.is_empty() {
                break;
            }
            while let Some(event) = self.ready.pop_front() {
                self.tell(event);
            }
        }
        exit
    }

    fn publish(&mut self, now: Now) {
        let snapshot = self.ha.snapshot(now);
        if self.ttl != snapshot.settings.ttl {
            self.ttl = snapshot.settings.ttl;
            self.keeper.set_ttl(self.ttl);
        }
        self.follow_dynamic(&snapshot);
        self.published.store(Arc::new(snapshot));
        if let Some(until) = self.ha.permission() {
            self.keeper.permit(until);
        }
        self.keeper.promised(self.ha.promises());
    }

    /// A changed dynamic configuration makes another instance, and perhaps another local part of the rules.
    fn follow_dynamic(&mut self, snapshot: &Snapshot) {
        if Arc::ptr_eq(&self.dynamic, &snapshot.dynamic) {
            return;
        }
        self.dynamic = Arc::clone(&snapshot.dynamic);
        if let Some(local) = self.reloader.follow_dynamic(&self.dynamic, &self.performer) {
            self.ready.push_back(Event::Configured(Box::new(local)));
        }
    }

    fn begin(&mut self, effect: Effect) -> Option<Exit> {
        let id = effect.id;
        match effect.act {
            Act::Exit { code, why } => return Some(Exit { code, why }),
            Act::Reply { request, reply } => {
                if let Some(waiting) = self.waiting.remove(&request) {
                    let _ = waiting.send(reply);
                }
                self.ready.push_back(Event::Done { id, outcome: Ok(Yield::Done) });
                return None;
            }
            Act::Cancel { effect } => {
                self.effects.cancel(effect);
                self.ready.push_back(Event::Done { id, outcome: Ok(Yield::Done) });
                return None;
            }
            _ => {}
        }
        let begun = self.effects.begin(&effect, jogi_net::boot_now());
        tracing::debug!("effect {}: {} begins, for at most {:?}", id.0, effect.act.name(), effect.deadline);
        let work = self.performer.clone().perform(effect.act, begun.limit, begun.cancel);
        let inbox = self.sender.clone();
        tokio::spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let input = match ended {
                Ok(ended) => Input::Ended { id, before: ended.before, outcome: ended.outcome },
                Err(_) => {
                    let why = "an internal error ended it; the log has it".to_owned();
                    Input::Ended { id, before: None, outcome: Err(Failure::Failed(why)) }
                }
            };
            // The loop has ended: nobody is left to tell.
            let _ = inbox.send(input).await;
        });
        None
    }

    /// One line for each sentence of the core, one for its decision when it is time for that; and the record.
    fn say(&mut self) {
        while let Some(Note { level, text }) = self.ha.poll_note() {
            match level {
                NoteLevel::Info => tracing::info!("{text}"),
                NoteLevel::Warning => tracing::warn!("{text}"),
                NoteLevel::Error => tracing::error!("{text}"),
            }
        }
        let (paused, again) = (self.published.load().settings.pause, self.spoken_again_at());
        if let Some(line) = self.spoken.line(self.ha.last_decision(), paused, jogi_net::boot_now(), again) {
            tracing::info!("{line}");
        }
        while let Some(moment) = self.ha.poll_moment() {
            self.record.add(moment);
        }
    }

    fn next_deadline(&self) -> Option<Tick> {
        let core = self.ha.poll_timeout().map(|(at, _)| at);
        core.into_iter().chain(self.effects.next_deadline()).chain(self.spoken_again_at()).min()
    }

    fn spoken_again_at(&self) -> Option<Tick> {
        self.spoken.again_at(self.published.load().settings.loop_wait, &self.performer.instance().local.log)
    }

    /// The core has decided to end: no program of ours may change the data directory after us.
    async fn wind_up(&mut self) {
        let until = tokio::time::Instant::now() + LAST_EFFECTS;
        while self.effects.cancel_all() {
            let Ok(Some(input)) = tokio::time::timeout_at(until, self.inbox.recv()).await else {
                tracing::warn!("a program that changes the data directory could not be ended");
                return;
            };
            if let Input::Ended { id, outcome, .. } = input {
                self.effects.ended(id, outcome);
            }
        }
    }
}
