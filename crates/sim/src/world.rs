//! The world: members' hosts, a store, a network and clients in virtual time.
//!
//! Everything that happens is a [`Happening`] in one queue ordered by time and then by the order in which it was put
//! there; everything random comes from one stream. So a seed is a history, to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jogi_core::ha::{Aside, Effect, Event, Intent};
use jogi_core::{MemberName, Now, Tick};
use serde_json::Value;

use crate::agent::{Agent, ToAgent, is_due};
use crate::client::{self, Client};
use crate::clock::{Clock, Moment};
use crate::dcs::{Past, StoreCall};
use crate::fault::Fault;
use crate::guard::Guard;
use crate::invariants::Checks;
use crate::net::{HostId, Net};
use crate::peers::Question;
use crate::postgres::{News, Postgres, Step};
use crate::queue::Queue;
use crate::quirks::Quirks;
use crate::rng::Rng;
use crate::seeds::kind::Kind;
use crate::store::Store;
use crate::streams::Stream;
use crate::trace::{Topic, Trace};
use crate::wal::{RecordId, Wal};
use crate::weakness::Weaknesses;

/// One thing that will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Something for the agent process; it waits while the agent is frozen.
    Agent {
        host: HostId,
        incarnation: u64,
        what: ToAgent,
    },
    /// A program that the agent started, or the guard at its command, has got to its end.
    Program {
        host: HostId,
        incarnation: u64,
        effect: Arc<Effect>,
    },
    Guard {
        host: HostId,
    },
    Postgres {
        host: HostId,
        run: u64,
        step: Step,
    },
    StoreArrives(Box<StoreCall>),
    StoreExpiry,
    StreamArrives {
        standby: HostId,
        connection: u64,
        tip: RecordId,
    },
    /// What has arrived is on the standby's disk.
    StreamFlushed {
        standby: HostId,
        connection: u64,
        tip: RecordId,
    },
    /// The standby's answer is back: it has written so much, or has it on its disk too.
    StreamAcked {
        standby: HostId,
        connection: u64,
        tip: RecordId,
        flushed: bool,
    },
    /// A walsender has not heard of its standby for `wal_sender_timeout`.
    StreamEnds {
        connection: u64,
    },
    StreamRetry {
        standby: HostId,
    },
    /// A request to another member's API arrives.
    PeerArrives(Box<Question>),
    Client {
        client: usize,
        step: client::Step,
    },
    /// The service manager starts the agent.
    AgentStarts {
        host: HostId,
    },
    Fault(Fault),
}

impl Happening {
    /// Whether somebody may be able to commit after it who was not before, or the store may be another. What clients
    /// write and standbys confirm is most of what happens and does neither; what it makes of a log is still there when
    /// the next thing is looked at.
    fn may_break_a_promise(&self) -> bool {
        match self {
            Happening::Client { .. } | Happening::StreamFlushed { .. } | Happening::StreamAcked { .. } => false,
            Happening::Agent { .. }
            | Happening::Program { .. }
            | Happening::Guard { .. }
            | Happening::Postgres { .. }
            | Happening::StoreArrives(_)
            | Happening::StoreExpiry
            | Happening::StreamArrives { .. }
            | Happening::StreamEnds { .. }
            | Happening::StreamRetry { .. }
            | Happening::PeerArrives(_)
            | Happening::AgentStarts { .. }
            | Happening::Fault(_) => true,
        }
    }
}

/// A host with one member.
#[derive(Debug)]
pub struct Host {
    pub name: MemberName,
    pub clock: Clock,
    pub powered: bool,
    pub pg: Postgres,
    pub guard: Guard,
    pub agent: Option<Agent>,
    /// Counts starts of the agent.
    pub incarnation: u64,
    /// What lies in the run directory beside the guard's page: the intent, and by which run of the agent.
    pub intent: Option<(Intent, u64)>,
    pub dynamic: Option<Value>,
    /// Data directories that were put aside and are still there, oldest first; and how many ever were.
    pub aside: Vec<Aside>,
    pub put_aside: usize,
    /// The service manager starts an agent that has ended again after so long.
    pub restarts_after: Option<Duration>,
    /// How far behind the store's server is that it watches.
    pub store_lag: Duration,
    /// PostgreSQL was started by somebody else: writable without a lease until the agent ends it.
    pub stray: bool,
    pub tags: Value,
    /// The next clones end with this error after half of their time.
    pub failing_clones: u32,
    /// It has not joined the herd yet, or has been taken out of it: nobody waits for it.
    pub absent: bool,
    /// It is none of the herd's, see [`crate::remote`].
    pub remote: bool,
    pub quirks: Quirks,
}

/// What a herd is made of.
#[derive(Clone, Debug)]
pub struct Herd {
    pub members: Vec<String>,
    /// `bootstrap.dcs` of every member.
    pub dynamic: Value,
    pub seed: u64,
}

/// How often things happened: a report with a zero in it has tested less than it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub effects: u64,
    /// Effects carried out, by the name of what they do.
    pub effects_by_name: BTreeMap<&'static str, u64>,
    /// Faults of seeds that struck.
    pub kinds: BTreeMap<Kind, u64>,
    pub leader_changes: u64,
    /// Outcomes of effects that never came, came late, or came after those of effects that ended later.
    pub dones_lost: u64,
    pub dones_late: u64,
    pub dones_reordered: u64,
    pub closed_at_soft: u64,
    pub killed_at_hard: u64,
    pub promotions: u64,
    pub starts: u64,
    pub clones: u64,
    pub rewinds: u64,
    pub bootstraps: u64,
    pub faults: u64,
    pub stuck: u64,
    /// Hung primaries that were given up while nothing else was wrong.
    pub hung_noticed: u64,
    /// Watches that began with what had been.
    pub stale_reads: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        let Counts { effects, effects_by_name, kinds, leader_changes, .. } = other;
        self.effects += effects;
        effects_by_name.iter().for_each(|(name, count)| *self.effects_by_name.entry(name).or_default() += count);
        kinds.iter().for_each(|(kind, count)| *self.kinds.entry(*kind).or_default() += count);
        self.leader_changes += leader_changes;
        self.dones_lost += other.dones_lost;
        self.dones_late += other.dones_late;
        self.dones_reordered += other.dones_reordered;
        self.closed_at_soft += other.closed_at_soft;
        self.killed_at_hard += other.killed_at_hard;
        self.promotions += other.promotions;
        self.starts += other.starts;
        self.clones += other.clones;
        self.rewinds += other.rewinds;
        self.bootstraps += other.bootstraps;
        self.faults += other.faults;
        self.stuck += other.stuck;
        self.hung_noticed += other.hung_noticed;
        self.stale_reads += other.stale_reads;
    }
}

pub struct World {
    pub now: Moment,
    pub rng: Rng,
    pub net: Net,
    pub store: Store,
    pub wal: Wal,
    pub hosts: Vec<Host>,
    pub clients: Vec<Client>,
    pub streams: Vec<Option<Stream>>,
    /// Walsenders whose standby's host is gone without a word, and which standby that was.
    pub ghosts: Vec<(HostId, Stream)>,
    pub stream_retry: Vec<bool>,
    pub connections: u64,
    /// Added to every message of WAL.
    pub replication_delay: Duration,
    pub trace: Trace,
    pub checks: Box<Checks>,
    /// Stands in while the checks look at the world.
    pub(crate) idle_checks: Option<Box<Checks>>,
    pub counts: Counts,
    pub commits: u64,
    pub herd: Herd,
    /// What does not protect this world.
    pub weakness: Weaknesses,
    /// One outcome in so many is lost, late, or overtaken by another; zero leaves them all alone.
    pub trouble_one_in: u64,
    /// System identifiers that initdb made.
    pub systems: BTreeSet<u64>,
    /// Answers to requests of the operator, in order.
    pub replies: Vec<(HostId, jogi_core::ha::Reply)>,
    /// What the agents noted, while a trace is kept.
    pub noted: Vec<(HostId, String)>,
    pub(crate) past: Past,
    /// Up to where the readers of logical slots have taken what the slots gave them.
    pub readers: BTreeMap<jogi_core::SlotName, jogi_core::Lsn>,
    pub(crate) watched_revision: u64,
    pub(crate) last_leader: Option<String>,
    /// Who held the leader key last, now or before.
    pub(crate) last_holder: Option<String>,
    pub(crate) expiry_at: Option<Moment>,
    queue: Queue,
    digest: u64,
}

impl World {
    /// A world with nothing in it yet: empty data directories, no agent started.
    pub fn new(herd: Herd) -> World {
        let mut rng = Rng::new(herd.seed);
        let hosts: Vec<Host> = herd.members.iter().map(|name| new_host(name, &mut rng)).collect();
        World {
            now: Moment(0),
            rng,
            net: Net::default(),
            store: Store::default(),
            wal: Wal::default(),
            streams: vec![None; hosts.len()],
            ghosts: Vec::new(),
            stream_retry: vec![false; hosts.len()],
            hosts,
            clients: Vec::new(),
            connections: 0,
            replication_delay: Duration::ZERO,
            trace: Trace::default(),
            checks: Box::default(),
            idle_checks: None,
            counts: Counts::default(),
            commits: 0,
            herd,
            weakness: Weaknesses::default(),
            trouble_one_in: 0,
            systems: BTreeSet::new(),
            replies: Vec::new(),
            noted: Vec::new(),
            past: Past::default(),
            readers: BTreeMap::new(),
            watched_revision: 0,
            last_leader: None,
            last_holder: None,
            expiry_at: None,
            queue: Queue::default(),
            digest: 0,
        }
    }

    /// A number made of the whole history: equal histories have equal ones.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn host_named(&self, name: &str) -> Option<HostId> {
        self.hosts.iter().position(|h| h.name.as_str() == name)
    }

    /// Where the holder of the leader key lives.
    pub fn leader_host(&self) -> Option<HostId> {
        self.store.leader().and_then(|name| self.host_named(name))
    }

    pub fn clock_now(&self, host: HostId) -> Now {
        self.hosts[host].clock.now(self.now)
    }

    pub fn boot(&self, host: HostId) -> Tick {
        self.hosts[host].clock.boot(self.now)
    }

    pub fn schedule(&mut self, wait: Duration, what: Happening) {
        self.schedule_at(self.now + wait, what);
    }

    pub fn schedule_at(&mut self, at: Moment, what: Happening) {
        self.queue.push(at.max(self.now), what);
    }

    /// Adds a line to the trace, made only when somebody wants it.
    pub fn say(&mut self, topic: Topic, host: HostId, text: impl FnOnce() -> String) {
        if self.trace.wants(topic) {
            let name = self.hosts[host].name.clone();
            self.trace.add(self.now, topic, name.as_str(), text());
        }
    }

    pub fn announce(&mut self, topic: Topic, text: impl FnOnce() -> String) {
        if self.trace.wants(topic) {
            self.trace.add(self.now, topic, "", text());
        }
    }

    /// Runs what is due until `until`, and leaves the clock there.
    pub fn run_until(&mut self, until: Moment) {
        self.run_while(until, |_| true);
    }

    /// Runs until `until` while `go_on` holds after each step; true when it stopped holding.
    pub fn run_while(&mut self, until: Moment, mut go_on: impl FnMut(&World) -> bool) -> bool {
        while go_on(self) {
            if self.checks.failed() {
                return false;
            }
            match self.queue.next_at() {
                Some(next) if next <= until => {}
                Some(_) | None => {
                    self.now = self.now.max(until);
                    return false;
                }
            }
            self.step();
        }
        true
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// The next thing happens. False when nothing is left to happen.
    pub fn step(&mut self) -> bool {
        let Some((at, sequence, what)) = self.queue.pop() else { return false };
        self.now = at;
        self.digest = (self.digest ^ at.0 ^ sequence.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.digest = self.digest.rotate_left(23) ^ self.rng.state();
        let may_break = what.may_break_a_promise();
        self.dispatch(what);
        self.store_changed();
        if may_break {
            Checks::after_step(self);
        }
        true
    }

    fn dispatch(&mut self, what: Happening) {
        match what {
            Happening::Agent { host, incarnation, what } => self.agent_hears(host, incarnation, what),
            Happening::Program { host, incarnation, effect } => self.program_ends(host, incarnation, &effect),
            Happening::Guard { host } => self.guard_timer(host),
            Happening::Postgres { host, run, step } => {
                let World { hosts, wal, rng, .. } = self;
                let news = hosts[host].pg.step(run, step, wal, rng);
                self.postgres_news(host, news);
            }
            Happening::StoreArrives(call) => self.store_serves(*call),
            Happening::StoreExpiry => {
                if is_due(&mut self.expiry_at, self.now) {
                    self.store.expire(self.now);
                    self.schedule_expiry();
                }
            }
            Happening::StreamArrives { standby, connection, tip } => self.stream_arrives(standby, connection, tip),
            Happening::StreamFlushed { standby, connection, tip } => self.stream_flushed(standby, connection, tip),
            Happening::StreamAcked { standby, connection, tip, flushed } => {
                self.stream_acked(standby, connection, tip, flushed);
            }
            Happening::StreamEnds { connection } => self.ghost_ends(connection),
            Happening::StreamRetry { standby } => self.stream_retries(standby),
            Happening::PeerArrives(question) => self.peer_answers(*question),
            Happening::Client { client, step } => self.client_steps(client, step),
            Happening::AgentStarts { host } => self.start_agent(host),
            Happening::Fault(fault) => self.inflict(fault),
        }
    }

    /// Queues what follows by itself in the host's server.
    pub fn settle_postgres(&mut self, host: HostId) {
        for (wait, run, step) in self.hosts[host].pg.take_due() {
            self.schedule(wait, Happening::Postgres { host, run, step });
        }
    }

    /// The server said something: whom it concerns is told.
    pub fn postgres_news(&mut self, host: HostId, news: Vec<News>) {
        self.settle_postgres(host);
        for one in news {
            match one {
                News::Exited { pid, status } => {
                    self.say(Topic::Server, host, || format!("postmaster {status}"));
                    self.tell(host, Event::PostmasterExited { pid, status });
                }
                News::Accepts => self.say(Topic::Server, host, || "server accepts connections".to_owned()),
                News::Writable => self.server_opened(host),
                News::Changed => {
                    self.guard_sees(host);
                    self.look_at_streams(host);
                }
            }
        }
        self.promotions_end(host);
    }

    fn server_opened(&mut self, host: HostId) {
        let timeline = self.hosts[host].pg.data().map(|d| self.wal.timeline(d.tip).0).unwrap_or_default();
        self.say(Topic::Server, host, || format!("server is writable on timeline {timeline}"));
    }

    fn guard_sees(&mut self, host: HostId) {
        if self.hosts[host].pg.is_gone() {
            self.hosts[host].stray = false;
            self.hosts[host].guard.server_is(jogi_core::lease::Server::None);
            self.fences_end(host);
        } else if self.hosts[host].pg.orphans.is_some() {
            self.guard_sees_off(host);
        }
    }

    /// An event for the host's agent, if there is one.
    pub fn tell(&mut self, host: HostId, event: Event) {
        let incarnation = self.hosts[host].incarnation;
        if self.hosts[host].agent.is_some() {
            let what = ToAgent::Core(Box::new(event));
            self.schedule(Duration::ZERO, Happening::Agent { host, incarnation, what });
        }
    }
}

fn new_host(name: &str, rng: &mut Rng) -> Host {
    let offset = rng.range(1, 5_000_000_000_000);
    Host {
        name: name.into(),
        clock: Clock::new(offset, 0),
        powered: true,
        pg: Postgres::default(),
        guard: Guard::default(),
        agent: None,
        incarnation: 0,
        intent: None,
        dynamic: None,
        aside: Vec::new(),
        put_aside: 0,
        restarts_after: None,
        store_lag: Duration::ZERO,
        stray: false,
        tags: Value::Object(serde_json::Map::new()),
        failing_clones: 0,
        absent: false,
        remote: false,
        quirks: Quirks::default(),
    }
}
