//! A store and a network with faults, in virtual time, to try the machine on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Tick;
use crate::ha::{Failure, Generation, Promises};
use crate::lease::Deadlines;
use crate::view::{Condition, Expect, Leader, Revision, Session};

use super::{Adopted, Answer, Ask, Input, Keeper, Options, Outcome, Request, Ticket, Wire};

pub const ME: &str = "me";

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn at(n: u64) -> Tick {
    Tick::ZERO + ms(n)
}

/// A store that keeps a session exactly `ttl` after the last request that extended it.
#[derive(Debug, Default)]
pub struct Store {
    sessions: BTreeMap<String, (Duration, Tick)>,
    pub leader: Option<Leader>,
    revision: u64,
    opened: u64,
    pub statuses: Vec<String>,
    pub requests: u64,
}

impl Store {
    fn bump(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision.to_string().into())
    }

    pub fn expire(&mut self, now: Tick) {
        self.sessions.retain(|_, (_, ends)| *ends > now);
        let sessions = &self.sessions;
        self.leader.take_if(|l| l.session.as_ref().is_some_and(|s| !sessions.contains_key(s.0.as_str())));
    }

    pub fn open(&mut self, ttl: Duration, now: Tick) -> Session {
        self.opened += 1;
        let id = format!("s{}", self.opened);
        self.sessions.insert(id.clone(), (ttl, now + ttl));
        Session(id.into())
    }

    /// As etcd does when it has elected a new leader.
    pub fn extend_all(&mut self, by: Duration) {
        for (_, ends) in self.sessions.values_mut() {
            *ends = *ends + by;
        }
    }

    pub fn end(&mut self, session: &Session, now: Tick) {
        self.sessions.remove(session.0.as_str());
        self.expire(now);
    }

    pub fn put_leader(&mut self, name: &str, session: Option<Session>) -> Revision {
        let created = self.bump();
        self.leader = Some(Leader { name: name.into(), revision: created.clone(), created: created.clone(), session });
        created
    }

    fn holds(&self, expect: &Expect) -> bool {
        match &expect.leader {
            Condition::Always => true,
            Condition::Absent => self.leader.is_none(),
            Condition::Unchanged(revision) => self.leader.as_ref().is_some_and(|l| l.revision == *revision),
        }
    }

    pub fn answer(&mut self, ask: &Ask, now: Tick) -> Answer {
        self.expire(now);
        self.requests += 1;
        let lives = |store: &Store, session: &Session| store.sessions.contains_key(session.0.as_str());
        match ask {
            Ask::Open { ttl } => Answer::Opened(self.open(*ttl, now)),
            Ask::Beat { session, read_leader } => match self.sessions.get_mut(session.0.as_str()) {
                None => Answer::SessionGone,
                Some((ttl, ends)) => {
                    *ends = now + *ttl;
                    self.requests += u64::from(*read_leader);
                    Answer::Extended { leader: self.leader.clone().filter(|_| *read_leader) }
                }
            },
            Ask::Acquire { session, .. } | Ask::Reattach { session, .. } if !lives(self, session) => {
                Answer::SessionGone
            }
            Ask::Acquire { session, expect } if self.holds(expect) => {
                Answer::Ours { created: self.put_leader(ME, Some(session.clone())) }
            }
            Ask::Acquire { .. } => Answer::Conflict,
            Ask::Reattach { session, created } => {
                let revision = self.bump();
                match self.leader.as_mut().filter(|l| l.created == *created) {
                    None => Answer::Conflict,
                    Some(leader) => {
                        leader.session = Some(session.clone());
                        leader.revision = revision;
                        Answer::Ours { created: created.clone() }
                    }
                }
            }
            Ask::Release { created, status } => {
                let deleted = self.leader.take_if(|l| l.created == *created).is_some();
                self.statuses.extend(status.clone().filter(|_| deleted));
                Answer::Released(deleted)
            }
        }
    }
}

/// What the network does with a request sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// There and back within a millisecond each.
    Good,
    /// The request is lost.
    LosesRequests,
    /// The request arrives, the answer is lost.
    LosesAnswers,
    /// The request arrives after this long, the answer at once.
    Slow(Duration),
    /// The store answers with an error at once.
    Refuses,
}

/// One keeper, its store and the network between them.
pub struct World {
    pub now: Tick,
    pub store: Store,
    pub keeper: Keeper,
    pub net: Net,
    /// The core turns: its permission is renewed every quarter of a second.
    pub core_lives: bool,
    /// Another member takes the lock as soon as it is free and it has not promised to leave it alone.
    pub rival: bool,
    /// The rival's promise.
    pub promised_until: Tick,
    /// When the newest promise was asked for.
    pub promise_sent: Tick,
    pub results: Vec<(Ticket, Result<Outcome, Failure>)>,
    pub sent: Vec<(Tick, Ask)>,
    pub permitted_until: Tick,
    permissions: Vec<(Tick, Tick)>,
    /// Of each session: its ttl, and the sending of the newest request that opened or extended it.
    proven: BTreeMap<String, (Duration, Tick)>,
    ttl: Duration,
    travelling: Vec<(Tick, Leg)>,
    newest: BTreeMap<Wire, u64>,
    tickets: u64,
    permit_at: Tick,
}

#[derive(Clone, Debug)]
enum Leg {
    ToStore { request: Request, answers: bool },
    ToKeeper { id: u64, wire: Wire, answer: Answer },
}

impl World {
    pub fn new(ttl: Duration) -> World {
        World::with(ttl, Store::default(), None)
    }

    pub fn with(ttl: Duration, store: Store, adopt: Option<Adopted>) -> World {
        let now = at(1000);
        let adopted = adopt.as_ref().map(|a| (a.session.0.to_string(), (a.ttl.unwrap_or(ms(2_000)), Tick::ZERO)));
        let options = Options { name: ME.into(), ttl, seed: 100, adopt };
        let mut world = World {
            now,
            store,
            keeper: Keeper::new(options, now),
            net: Net::Good,
            core_lives: true,
            rival: false,
            promised_until: Tick::ZERO,
            promise_sent: Tick::ZERO,
            results: Vec::new(),
            sent: Vec::new(),
            permitted_until: Tick::ZERO,
            permissions: Vec::new(),
            proven: adopted.into_iter().collect(),
            ttl,
            travelling: Vec::new(),
            newest: BTreeMap::new(),
            tickets: 0,
            permit_at: now,
        };
        world.collect();
        world
    }

    /// Lets time pass; everything that falls due happens in order.
    pub fn run(&mut self, for_: Duration) {
        let end = self.now + for_;
        let mut turns_at_once = 0;
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            turns_at_once = if next > self.now { 0 } else { turns_at_once + 1 };
            assert!(turns_at_once < 50, "the machine spins at {:?}: {:?}", self.now, self.keeper);
            self.now = self.now.max(next);
            self.step();
            self.check();
        }
        self.now = end;
        self.store.expire(end);
    }

    fn next_moment(&self) -> Option<Tick> {
        let travelling = self.travelling.iter().map(|(at, _)| *at);
        let timeout = self.keeper.poll_timeout().map(|(at, _)| at);
        let permit = self.core_lives.then_some(self.permit_at);
        travelling.chain(timeout).chain(permit).min()
    }

    fn step(&mut self) {
        self.store.expire(self.now);
        if self.rival && self.store.leader.is_none() && self.now >= self.promised_until {
            self.store.put_leader("rival", None);
        }
        if self.core_lives && self.permit_at <= self.now {
            self.permit_at = self.now + ms(250);
            self.permitted_until = self.now + self.ttl;
            self.permissions.push((self.now, self.permitted_until));
            return self.tell(Input::Permit { until: self.permitted_until });
        }
        if let Some(i) = self.travelling.iter().position(|(at, _)| *at <= self.now) {
            let (_, leg) = self.travelling.remove(i);
            return self.arrive(leg);
        }
        self.tell(Input::Timeout);
    }

    fn arrive(&mut self, leg: Leg) {
        match leg {
            Leg::ToStore { request, answers } => {
                let answer = self.store.answer(&request.ask, self.now);
                if answers {
                    let leg = Leg::ToKeeper { id: request.id, wire: request.wire, answer };
                    self.travelling.push((self.now + ms(1), leg));
                }
            }
            // Whoever carries requests drops one that has been replaced.
            Leg::ToKeeper { id, wire, answer } if self.newest.get(&wire) == Some(&id) => {
                self.tell(Input::Answer { id, answer });
            }
            Leg::ToKeeper { .. } => {}
        }
    }

    pub fn tell(&mut self, input: Input) {
        let before = self.keeper.valid_until();
        let counted = match &input {
            Input::Answer { id, answer } => self.counts_until(*id, answer),
            Input::Promised(Some(promises)) => Deadlines::new(promises.sent, promises.ttl).hard,
            _ => Tick::ZERO,
        };
        self.keeper.handle(input, self.now);
        let after = self.keeper.valid_until();
        assert!(after <= before.max(counted), "believed until {after:?}, proven {counted:?}: {:?}", self.keeper);
        self.collect();
    }

    /// Until when the answer to request `id` lets a lock be believed in.
    fn counts_until(&mut self, id: u64, answer: &Answer) -> Tick {
        let (sent, ask) = self.sent[id as usize - 1].clone();
        let (session, ttl, extended) = match (ask, answer) {
            (Ask::Open { ttl }, Answer::Opened(session)) => (session.clone(), ttl, Some(sent)),
            (Ask::Beat { session, .. }, Answer::Extended { .. }) => {
                (session.clone(), self.proven[session.0.as_str()].0, Some(sent))
            }
            (Ask::Acquire { session, .. } | Ask::Reattach { session, .. }, Answer::Ours { .. }) => {
                (session.clone(), self.proven[session.0.as_str()].0, None)
            }
            _ => return Tick::ZERO,
        };
        let proven = self.proven.entry(session.0.to_string()).or_insert((ttl, Tick::ZERO));
        proven.1 = proven.1.max(extended.unwrap_or_default());
        Tick((proven.1 + ttl * 99 / 100 - ms(200)).0)
    }

    fn collect(&mut self) {
        while let Some(request) = self.keeper.poll_request() {
            assert!(request.limit > Duration::ZERO, "a request without time: {request:?}");
            self.sent.push((self.now, request.ask.clone()));
            self.newest.insert(request.wire, request.id);
            self.carry(request);
        }
        while let Some(result) = self.keeper.poll_result() {
            self.results.push(result);
        }
    }

    fn carry(&mut self, request: Request) {
        let there = |delay, answers| (self.now + delay, Leg::ToStore { request: request.clone(), answers });
        match self.net {
            Net::Good => self.travelling.push(there(ms(1), true)),
            Net::LosesRequests => {}
            Net::LosesAnswers => self.travelling.push(there(ms(1), false)),
            Net::Slow(delay) => self.travelling.push(there(delay, true)),
            Net::Refuses => {
                let answer = Answer::Nothing("refused".into());
                let leg = Leg::ToKeeper { id: request.id, wire: request.wire, answer };
                self.travelling.push((self.now, leg));
            }
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        if self.keeper.valid_until() > self.now {
            let lease = self.keeper.lease();
            let created = lease.lock.as_ref().map(|l| &l.created);
            let leader = self.store.leader.as_ref();
            let on_promises = self.now < self.promised_until && leader.is_none_or(|l| l.name.as_str() == ME);
            if !on_promises {
                assert_eq!(leader.map(|l| &l.created), created, "not so at {:?}: {:?}", self.now, self.keeper);
                assert_eq!(leader.map(|l| l.name.as_str()), Some(ME));
            }
        }
    }

    pub fn acquire(&mut self, expect: Expect, within: Duration) -> Ticket {
        let (ticket, deadline) = (self.ticket(), self.now + within);
        self.tell(Input::Acquire { ticket, expect, deadline });
        ticket
    }

    pub fn release(&mut self, within: Duration) -> Ticket {
        let (ticket, deadline) = (self.ticket(), self.now + within);
        self.tell(Input::Release { ticket, status: Some("final".into()), deadline });
        ticket
    }

    /// The rival hears the question now, `travelled` after it was sent, and promises; the keeper is told.
    pub fn promise(&mut self, travelled: Duration) {
        let Some(lock) = self.keeper.lease().lock else { return };
        self.promised_until = self.promised_until.max(self.now + self.ttl);
        let sent = self.now - travelled;
        self.promise_sent = self.promise_sent.max(sent);
        let promises = Promises { generation: lock.generation, sent, ttl: self.ttl };
        self.tell(Input::Promised(Some(promises)));
    }

    pub fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub fn result(&self, ticket: Ticket) -> Option<&Result<Outcome, Failure>> {
        let mut all = self.results.iter().filter(|(t, _)| *t == ticket);
        let first = all.next();
        assert_eq!(all.next(), None, "a command has one result");
        first.map(|(_, result)| result)
    }

    /// Takes the free lock on a good network.
    pub fn lead(&mut self) -> Generation {
        self.run(ms(10));
        self.acquire(Expect::free(), ms(500));
        self.run(ms(20));
        self.keeper.lease().lock.expect("the lock").generation
    }

    /// Delivers what travels without letting time pass and without the check of beliefs.
    pub fn keeper_answers(&mut self) {
        while !self.travelling.is_empty() {
            self.travelling.sort_by_key(|(at, _)| *at);
            let (_, leg) = self.travelling.remove(0);
            self.arrive(leg);
        }
    }

    /// Until when the permission stood that was in force at `then`.
    pub fn permission_at(&self, then: Tick) -> Tick {
        self.permissions.iter().rev().find(|(given, _)| *given <= then).map_or(Tick::ZERO, |(_, until)| *until)
    }

    /// Commands that have no result yet.
    pub fn unanswered(&self) -> usize {
        (1..=self.tickets).filter(|n| self.result(Ticket(*n)).is_none()).count()
    }

    pub fn set_ttl(&mut self, ttl: Duration) {
        self.ttl = ttl;
        self.tell(Input::SetTtl(ttl));
    }
}
