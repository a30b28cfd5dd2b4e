//! The lease keeper's schedule: a state machine that owns every operation on the leader key.
//!
//! # What it guarantees
//!
//! - `valid_until` is counted from before a request was sent, and only from one whose answer proves both that
//!   the session was extended (or opened) and that the leader key was ours on that very session. Whatever else
//!   happens (an error, a silence, a conflict), `valid_until` stays or falls to zero.
//! - Nothing is renewed without the core's permission: a wedged core loses the lock.
//! - An attempt to take the lock whose outcome is unknown is looked into until it is known. A key found to be
//!   ours that nobody here believes in is deleted: no lock is renewed that nobody holds.
//! - Every error is the same path: the try failed, the next one follows at once.
//! - Failsafe mode: what the other members have promised ([`Input::Promised`]) counts beside the lease, by the same
//!   arithmetic. A key that is gone from the store is then not a lost lock before another's name is read or the promises end; taken
//!   again in time it is the same generation, so the guard sees one unbroken lease.
//!
//! # What it leaves to others
//!
//! Sending, clocks and threads ([the agent's keeper](../../../jogi_agent/keeper/index.html) or a model of it),
//! and what to do about a lock gained or lost (the rules in [`crate::ha`]).
//!
//! # How to drive it
//!
//! 1. [`Keeper::handle`] with what happened and the boot clock; [`Input::Timeout`] when the clock reaches
//!    [`Keeper::poll_timeout`].
//! 2. Then publish [`Keeper::page`] and [`Keeper::lease`], send everything that [`Keeper::poll_request`] yields and
//!    deliver everything that [`Keeper::poll_result`] yields, in this order.
//! 3. A request on a [`Wire`] replaces the one before it on the same wire, which is over and may be dropped: there is
//!    never more than one request on each.
//!
//! # Two wires
//!
//! What keeps the session alive (open, beat, re-attach) and what takes or gives the lock (acquire, release) do not
//! wait for each other: a heartbeat that hangs must not delay a race for the lock, nor the other way round.

mod lock;
#[cfg(test)]
mod model;
mod session;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::ha::{self, Cover, Failure, Generation, Promises, Taken};
use crate::view::{Expect, Leader, Revision, Session};
use crate::{MemberName, Tick, Weaken, Weakness};

use super::Deadlines;
use super::deadlines::TTL_FLOOR;
use lock::{Acquiring, Own, Releasing};
use session::Live;

/// The pause after the first failed try; it doubles from try to try, so that a store that refuses at once is not
/// asked thousands of times a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between tries while a lock is at stake.
const LONGEST_PAUSE_HOLDING: Duration = Duration::from_millis(200);
/// The longest pause between tries otherwise.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a request that we gave up may still be applied by the store: longer than any store keeps a request
/// in its queues. While it lasts, heartbeats look at the leader key.
const LATE_AT_MOST: Duration = Duration::from_secs(10);

/// How a keeper begins.
#[derive(Clone, Debug)]
pub struct Options {
    pub name: MemberName,
    pub ttl: Duration,
    /// The generation before the first one: random, so that no two runs of an agent use the same ones.
    pub seed: u64,
    /// The lock of an earlier run, as the guard's page names it.
    pub adopt: Option<Adopted>,
}

/// A lock that an earlier agent held and under which our server may still run. Verified before it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub session: Session,
    pub created: Revision,
    pub generation: Generation,
    /// The ttl of the session. Unknown: taken for the smallest there is, until the key is on a session of ours.
    pub ttl: Option<Duration>,
}

/// Names one command, so that its result finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time of [`Keeper::poll_timeout`] has come.
    Timeout,
    /// The answer to a request.
    Answer {
        id: u64,
        answer: Answer,
    },
    /// The core's permission stands until then, and at most one ttl from now.
    Permit {
        until: Tick,
    },
    /// Take the lock.
    Acquire {
        ticket: Ticket,
        expect: Expect,
        deadline: Tick,
    },
    /// Delete the leader key if it is still ours.
    Release {
        ticket: Ticket,
        status: Option<String>,
        deadline: Tick,
    },
    /// Delete a leader key that carries our name but is not held here.
    ReleaseStale {
        ticket: Ticket,
        created: Revision,
        status: Option<String>,
        deadline: Tick,
    },
    /// The other members' promises not to race (failsafe mode), counted from before they were asked for. `None`
    /// gives them back: from then on the store's lease alone counts.
    Promised(Option<Promises>),
    SetTtl(Duration),
    Adopt(Adopted),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acquired(Taken),
    /// `false`: the key was not ours any more.
    Released(bool),
}

/// A request for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    pub wire: Wire,
    /// After this long the machine counts it as unanswered.
    pub limit: Duration,
    pub ask: Ask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    Session,
    Lock,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Open { ttl: Duration },
    Beat { session: Session, read_leader: bool },
    Reattach { session: Session, created: Revision },
    Acquire { session: Session, expect: Expect },
    Release { created: Revision, status: Option<String> },
}

impl Ask {
    /// A short name for logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Ask::Open { .. } => "open the session",
            Ask::Beat { read_leader: false, .. } => "extend the session",
            Ask::Beat { read_leader: true, .. } => "renew the leader lock",
            Ask::Reattach { .. } => "move the leader key to the new session",
            Ask::Acquire { .. } => "take the leader lock",
            Ask::Release { .. } => "release the leader lock",
        }
    }
}

/// What the store said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Opened(Session),
    /// To a beat: the session lives. `leader` as read linearizably in the same beat, when it was asked for.
    Extended {
        leader: Option<Leader>,
    },
    SessionGone,
    /// The leader key is ours on the session that was named.
    Ours {
        created: Revision,
    },
    Conflict,
    Released(bool),
    /// Every way of not being answered usefully: nothing is known to have happened, nor not to have happened.
    Nothing(String),
}

/// What the guard's page is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub generation: Generation,
    pub session: Session,
    pub created: Revision,
    /// The ttl of the session.
    pub ttl: Duration,
    /// All zero once the lock is lost or released.
    pub deadlines: Deadlines,
}

/// A request that has been sent and not been answered.
#[derive(Clone, Debug)]
struct Flight {
    id: u64,
    sent: Tick,
    deadline: Tick,
    ask: Ask,
    /// The incarnation of the leader key that was held when a beat was sent.
    held: Option<Revision>,
}

/// One wire's state.
#[derive(Clone, Debug, Default)]
struct Line {
    flight: Option<Flight>,
    failures: u32,
    not_before: Tick,
}

impl Line {
    fn is_free(&self, now: Tick) -> bool {
        self.flight.is_none() && now >= self.not_before
    }

    fn failed(&mut self, now: Tick, longest: Duration) {
        let pause = FIRST_PAUSE * 2u32.saturating_pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause.min(longest);
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = Tick::ZERO;
    }
}

/// The machine. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Keeper {
    name: MemberName,
    /// The time of the last call.
    now: Tick,
    /// The ttl in force; the session's own may differ until a new one is open.
    ttl: Duration,
    generation: u64,
    permitted_until: Tick,

    session: Option<Live>,
    /// Opened with a new ttl, to replace `session`.
    candidate: Option<Live>,
    /// The leader key may be on either session: its move was sent and not answered.
    moving: bool,
    /// A session was opened or adopted before: from now on opening needs permission.
    began: bool,

    lock: Own,
    lost: Option<String>,
    acquiring: Option<Acquiring>,
    releasing: Option<Releasing>,
    /// The incarnation of the leader key that was last to be deleted. The request may take effect late, so this one
    /// is never believed in again.
    condemned: Option<Revision>,
    /// Until then an attempt of ours that was given up, to take the key or to move it, may still take effect.
    doubt_until: Tick,
    /// The leader key is to be looked at without waiting for the next beat's time.
    look_now: bool,
    page: Option<Page>,

    session_line: Line,
    lock_line: Line,
    last_id: u64,
    requests: VecDeque<Request>,
    results: VecDeque<(Ticket, Result<Outcome, Failure>)>,
    weaken: Weaken,
}

impl Keeper {
    pub fn new(options: Options, now: Tick) -> Keeper {
        let mut keeper = Keeper {
            name: options.name,
            now,
            ttl: options.ttl.max(TTL_FLOOR),
            generation: options.seed,
            permitted_until: Tick::ZERO,
            session: None,
            candidate: None,
            moving: false,
            began: false,
            lock: Own::No,
            lost: None,
            acquiring: None,
            releasing: None,
            condemned: None,
            doubt_until: Tick::ZERO,
            look_now: false,
            page: None,
            session_line: Line::default(),
            lock_line: Line::default(),
            last_id: 0,
            weaken: Weaken::default(),
            requests: VecDeque::new(),
            results: VecDeque::new(),
        };
        if let Some(adopted) = options.adopt {
            keeper.adopt(adopted);
        }
        keeper.settle(now);
        keeper
    }

    /// Takes in one thing. `now` is the boot clock and never goes back.
    pub fn handle(&mut self, input: Input, now: Tick) {
        self.now = now;
        match input {
            Input::Timeout => {}
            Input::Answer { id, answer } => self.answered(id, answer, now),
            Input::Permit { until } => self.permitted_until = until.min(now + self.ttl),
            Input::Acquire { ticket, expect, deadline } => self.acquire(ticket, expect, deadline),
            Input::Release { ticket, status, deadline } => self.release(ticket, status, deadline),
            Input::ReleaseStale { ticket, created, status, deadline } => {
                self.release_stale(ticket, created, status, deadline);
            }
            Input::Promised(promises) => self.promised(promises, now),
            Input::SetTtl(ttl) => self.ttl = ttl.max(TTL_FLOOR),
            Input::Adopt(adopted) => self.adopt(adopted),
        }
        self.settle(now);
    }

    /// The next request to send.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next result of a command. Each command has exactly one.
    pub fn poll_result(&mut self) -> Option<(Ticket, Result<Outcome, Failure>)> {
        self.results.pop_front()
    }

    /// When [`Input::Timeout`] is due, and why.
    pub fn poll_timeout(&self) -> Option<(Tick, &'static str)> {
        let flights = [&self.session_line, &self.lock_line].into_iter().filter_map(|line| line.flight.as_ref());
        let flights = flights.map(|flight| (flight.deadline, "a request goes unanswered"));
        let step = self.next_session_step().filter(|step| self.permits(step, step.due.max(self.now)));
        let step = step.filter(|_| self.session_line.flight.is_none());
        let step = step.map(|step| (step.due.max(self.session_line.not_before), step.why));
        let hard = self.covered().map(|held| (held.deadlines().hard, "the lease runs out"));
        let acquiring = self.acquiring.as_ref().map(|a| (a.deadline, "the attempt to take the lock gives up"));
        let releasing = self.releasing.as_ref().and_then(Releasing::deadline);
        let releasing = releasing.map(|at| (at, "the release of the lock gives up"));
        let again = (self.lock_line.flight.is_none() && self.wants_lock_line())
            .then_some((self.lock_line.not_before, "the leader key is asked for again"));
        let alone = [step, hard, acquiring, releasing, again].into_iter().flatten();
        flights.chain(alone).min_by_key(|(at, _)| *at)
    }

    /// The state as the core is told it.
    pub fn lease(&self) -> ha::Lease {
        let session = self.session.as_ref().filter(|live| live.is_known()).map(|live| live.id.clone());
        let cover = match &self.lock {
            Own::Kept(_) => Cover::Promises,
            Own::Held(held) if held.promised.hard > Tick::ZERO => Cover::Both,
            Own::No | Own::Verifying { .. } | Own::Held(_) => Cover::Lease,
        };
        let lock = self.covered().map(|held| ha::Lock {
            generation: held.generation,
            created: held.created.clone(),
            valid_until: held.deadlines().valid_until,
            soft: held.deadlines().soft,
            renewed: held.renewed,
            cover,
        });
        ha::Lease { session, lock, lost: self.lost.clone() }
    }

    /// What the guard's page is to show; `None` before the first lock.
    pub fn page(&self) -> Option<&Page> {
        self.page.as_ref()
    }

    /// Until when our server may be writable; zero without the lock.
    pub fn valid_until(&self) -> Tick {
        self.covered().map_or(Tick::ZERO, |held| held.deadlines().valid_until)
    }

    /// Something is due that is not done for want of permission: the next [`Input::Permit`] must not be late.
    pub fn waits_for_permission(&self, now: Tick) -> bool {
        self.session_line.flight.is_none()
            && self.next_session_step().is_some_and(|step| step.due <= now && !self.permits(&step, now))
    }

    /// Takes protections away, for tests that must be seen red.
    pub fn weakened(mut self, weaken: Weaken) -> Keeper {
        self.weaken = weaken;
        self
    }

    fn answered(&mut self, id: u64, answer: Answer, now: Tick) {
        let line = [&mut self.session_line, &mut self.lock_line]
            .into_iter()
            .find(|line| line.flight.as_ref().is_some_and(|flight| flight.id == id));
        let Some(flight) = line.and_then(|line| line.flight.take()) else { return };
        self.landed(flight, answer, now);
    }

    fn landed(&mut self, mut flight: Flight, answer: Answer, now: Tick) {
        if self.weaken.has(Weakness::LeaseFromAnswer) {
            flight.sent = now;
        }
        match flight.ask {
            Ask::Open { ttl } => self.opened(ttl, flight.sent, answer, now),
            Ask::Beat { ref session, read_leader } => {
                let session = session.clone();
                self.beaten(&flight, &session, read_leader, answer, now);
            }
            Ask::Reattach { .. } => self.reattached(flight.sent, answer, now),
            Ask::Acquire { session, .. } => self.acquired(&session, flight.sent, answer, now),
            Ask::Release { created, .. } => self.released(&created, answer, now),
        }
    }

    /// Lets go what has run out, then sends what is due.
    fn settle(&mut self, now: Tick) {
        self.expire_flights(now);
        self.expire_lock(now);
        self.expire_commands(now);
        self.pump_lock(now);
        self.pump_session(now);
    }

    fn expire_flights(&mut self, now: Tick) {
        for line in [Wire::Session, Wire::Lock] {
            let line = self.line(line);
            let Some(flight) = line.flight.take_if(|flight| now >= flight.deadline) else { continue };
            let waited = now.since(flight.sent).as_millis();
            let why = format!("{}: no answer within {waited} ms", flight.ask.name());
            self.landed(flight, Answer::Nothing(why), now);
        }
    }

    fn line(&mut self, wire: Wire) -> &mut Line {
        match wire {
            Wire::Session => &mut self.session_line,
            Wire::Lock => &mut self.lock_line,
        }
    }

    fn send(&mut self, wire: Wire, ask: Ask, limit: Duration, now: Tick) {
        self.last_id += 1;
        let id = self.last_id;
        let held = self.lock.created().cloned();
        let flight = Flight { id, sent: now, deadline: now + limit, ask: ask.clone(), held };
        self.line(wire).flight = Some(flight);
        self.requests.push_back(Request { id, wire, limit, ask });
    }

    fn longest_pause(&self) -> Duration {
        match self.lock {
            Own::No => LONGEST_PAUSE.min(self.ttl / 10),
            Own::Verifying { .. } | Own::Held(_) | Own::Kept(_) => LONGEST_PAUSE_HOLDING.min(self.ttl / 10),
        }
    }

    fn finish(&mut self, ticket: Ticket, result: Result<Outcome, Failure>) {
        self.results.push_back((ticket, result));
    }
}
