//! One agent process: the core, the lease keeper, and the carrying out of their effects on the models.
//!
//! Core and keeper are the types that the real agent runs. Here is only what the agent does around them: it hands in
//! events with the host's clock, carries effects out with plausible delays, and answers each exactly once.

mod finish;
mod look;
mod pace;
mod perform;
mod slots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jogi_core::ha::{
    Act, Effect, EffectId, Event, Failure, Found, Ha, Lane, Lease, Local, Outcome, Promises, Request, RequestId, Yield,
};
use jogi_core::lease::Keeper;
use jogi_core::lease::keeper::{self, Adopted, Input, Options, Ticket};
use jogi_core::view::{Cluster, Settings, Tags};
use jogi_core::{MemberName, Tick};

use crate::clock::Moment;
use crate::dcs::{Purpose, Watch};
use crate::net::HostId;
use crate::store;
use crate::trace::Topic;
use crate::weakness::Weakness;
use crate::world::{Happening, World};

/// What reaches an agent process.
#[derive(Clone, Debug)]
pub enum ToAgent {
    CoreTimer,
    KeeperTimer,
    Core(Box<Event>),
    StoreAnswered {
        for_: Purpose,
        sent: Tick,
        answer: Box<store::Answer>,
    },
    Watched(Arc<Cluster>),
    CheckWatch,
    /// Work that a thread of the agent does has come to its end.
    Finish(EffectId),
    /// The outcome of work that others did.
    Outcome(EffectId, Box<Outcome>),
    Deadline(EffectId),
}

impl ToAgent {
    /// For the keeper's thread, not the core's.
    fn for_keeper(&self) -> bool {
        match self {
            ToAgent::KeeperTimer | ToAgent::StoreAnswered { for_: Purpose::Keeper(_), .. } => true,
            ToAgent::StoreAnswered { for_: Purpose::Effect(_) | Purpose::Watch, .. }
            | ToAgent::CoreTimer
            | ToAgent::Core(_)
            | ToAgent::Watched(_)
            | ToAgent::CheckWatch
            | ToAgent::Finish(_)
            | ToAgent::Outcome(..)
            | ToAgent::Deadline(_) => false,
        }
    }
}

/// What keeps an agent from working.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stall {
    #[default]
    No,
    /// The core's thread does not get on; the keeper's does.
    Core,
    /// SIGSTOP, or swapped out: nothing does.
    Everything,
}

/// An effect that is being carried out.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub effect: Arc<Effect>,
    /// It was reported as stuck.
    pub stuck: bool,
    /// Its outcome has been held back; that happens once.
    pub troubled: bool,
    /// What the performer saw when it began: the server whose end it waits for, the source of a copy.
    pub began_with: Option<(HostId, u64)>,
}

/// Who waits for the answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Requester {
    Operator,
    /// A member that asked about failsafe; the effect is its own.
    Member {
        host: HostId,
        incarnation: u64,
        effect: EffectId,
    },
}

/// The process.
#[derive(Debug)]
pub struct Agent {
    pub ha: Ha,
    pub keeper: Keeper,
    pub stall: Stall,
    backlog: Vec<ToAgent>,
    pub(crate) works: BTreeMap<EffectId, Work>,
    core_timer: Option<Moment>,
    keeper_timer: Option<Moment>,
    pub watch: Watch,
    /// The server of its open connection, by the number of its start.
    pub(crate) kept: Option<u64>,
    pub last_watch_arrival: Moment,
    lease: Lease,
    permitted: Option<Tick>,
    promised: Option<Promises>,
    ttl: Duration,
    /// Outcomes that another one overtakes.
    held: Vec<(EffectId, Outcome)>,
    pub(crate) requests: BTreeMap<RequestId, Requester>,
    last_request: u64,
    said: std::borrow::Cow<'static, str>,
    /// Consecutive timeouts without time passing.
    spins: (Moment, u32),
}

/// An outcome that is lost comes out at its deadline; where that is hours away, nobody's patience is tried by it.
const LOST_FOR_AT_MOST: Duration = Duration::from_secs(60);
/// So many turns at one moment are a loop that never ends.
const SPINS_MAX: u32 = 2000;

impl World {
    /// What the local configuration of a member says.
    pub(crate) fn local(&self, host: HostId) -> Local {
        let name = self.hosts[host].name.clone();
        let tags = self.hosts[host].tags.as_object().cloned().unwrap_or_default();
        let mut local = Local {
            scope: "herd".to_owned(),
            conn_url: format!("postgres://{}:5432/postgres", address(host)),
            api_url: format!("http://{}:8008/patroni", address(host)),
            proxy_url: None,
            tags: Tags(tags),
            version: "4.1.5",
            binaries: 150_010,
            may_bootstrap: true,
            bootstrap_dcs: self.herd.dynamic.clone(),
            has_pre_promote: false,
            has_before_stop: false,
            use_pg_rewind: None,
            remove_on_rewind_failure: None,
            remove_on_diverged_timelines: None,
            has_leaderless_method: false,
            watchdog: jogi_core::lease::watchdog::WatchdogMode::Off,
            watchdog_margin: 5,
            start_wait_seconds: 60,
            name,
        };
        self.hosts[host].quirks.apply(&mut local);
        local
    }

    /// The service manager starts the agent. Does nothing when it runs or the host is down.
    pub fn start_agent(&mut self, host: HostId) {
        if !self.hosts[host].powered || self.hosts[host].agent.is_some() {
            return;
        }
        self.start_guard(host);
        let tick = self.boot(host);
        let dynamic = self.hosts[host].dynamic.clone();
        let ttl = Settings::from_value(dynamic.as_ref().unwrap_or(&self.herd.dynamic)).ttl;
        let guard = &self.hosts[host].guard;
        let live = guard.page.clone().filter(|page| page.deadlines.hard > tick);
        let adopt = live.map(|page| Adopted {
            session: page.session,
            created: page.created,
            generation: page.generation,
            ttl: Some(page.ttl),
        });
        let armed = adopt.as_ref().filter(|_| guard.armed).map(|a| a.generation);
        let seed = self.rng.draw() >> 20;
        let name: MemberName = self.hosts[host].name.clone();
        let agent = Agent {
            ha: Ha::new(self.local(host)).weakened(self.weakness.of_core()),
            keeper: Keeper::new(Options { name, ttl, seed, adopt }, tick).weakened(self.weakness.of_core()),
            stall: Stall::No,
            backlog: Vec::new(),
            works: BTreeMap::new(),
            core_timer: None,
            keeper_timer: None,
            watch: Watch::default(),
            kept: None,
            last_watch_arrival: self.now,
            lease: Lease::default(),
            permitted: None,
            promised: None,
            ttl,
            held: Vec::new(),
            requests: BTreeMap::new(),
            last_request: 0,
            said: "".into(),
            spins: (self.now, 0),
        };
        let machine = &mut self.hosts[host];
        machine.incarnation += 1;
        machine.agent = Some(agent);
        let found = Found { intent: machine.intent.clone().map(|(intent, _)| intent), armed, dynamic };
        let incarnation = machine.incarnation;
        self.tell(host, Event::Began(found));
        self.schedule(Duration::ZERO, Happening::Agent { host, incarnation, what: ToAgent::CheckWatch });
        self.pump_keeper(host);
    }

    /// The process is gone, and its programs with it. The guard stays.
    pub fn end_agent(&mut self, host: HostId) {
        let ended = self.hosts[host].agent.take().is_some();
        if let Some(wait) = self.hosts[host].restarts_after.filter(|_| ended) {
            self.schedule(wait, Happening::AgentStarts { host });
        }
    }

    pub fn stall_agent(&mut self, host: HostId, stall: Stall) {
        let incarnation = self.hosts[host].incarnation;
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        agent.stall = stall;
        if stall == Stall::No {
            for what in std::mem::take(&mut agent.backlog) {
                self.schedule(Duration::ZERO, Happening::Agent { host, incarnation, what });
            }
        }
    }

    pub fn agent_hears(&mut self, host: HostId, incarnation: u64, what: ToAgent) {
        if self.hosts[host].incarnation != incarnation {
            return;
        }
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let waits = match agent.stall {
            Stall::No => false,
            Stall::Core => !what.for_keeper(),
            Stall::Everything => true,
        };
        if waits {
            agent.backlog.push(what);
            return;
        }
        self.agent_acts(host, what);
    }

    fn agent_acts(&mut self, host: HostId, what: ToAgent) {
        match what {
            ToAgent::CoreTimer => self.core_timer(host),
            ToAgent::KeeperTimer => self.keeper_timer(host),
            ToAgent::Core(event) => self.core_hears(host, *event),
            ToAgent::Watched(cluster) => {
                let read_at = self.boot(host);
                self.core_hears(host, Event::View { cluster, read_at, linearizable: false });
            }
            ToAgent::CheckWatch => self.check_watch(host),
            ToAgent::StoreAnswered { for_, sent, answer } => match for_ {
                Purpose::Watch => self.watch_read(host, sent, *answer),
                Purpose::Keeper(id) => {
                    let answer = to_keeper(*answer);
                    self.keeper_hears(host, Input::Answer { id, answer });
                }
                Purpose::Effect(id) => self.store_answers_effect(host, id, sent, *answer),
            },
            ToAgent::Finish(id) => self.finish_work(host, id),
            ToAgent::Outcome(id, outcome) => self.done(host, id, *outcome),
            ToAgent::Deadline(id) => self.deadline(host, id),
        }
    }

    fn core_timer(&mut self, host: HostId) {
        let now = self.clock_now(host);
        let moment = self.now;
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        if !is_due(&mut agent.core_timer, moment) {
            return;
        }
        if agent.ha.poll_timeout().is_some_and(|(at, _)| at <= now.boot) {
            agent.spins = if agent.spins.0 == moment { (moment, agent.spins.1 + 1) } else { (moment, 0) };
            if agent.spins.1 > SPINS_MAX {
                let why = agent.ha.poll_timeout().map_or("", |(_, why)| why);
                let name = self.hosts[host].name.clone();
                self.checks.fail(moment, "busy loop", format!("{name}: the deadline '{why}' never passes"));
                return;
            }
            agent.ha.handle_timeout(now);
        }
        self.pump(host);
    }

    fn keeper_timer(&mut self, host: HostId) {
        let now = self.now;
        if self.hosts[host].agent.as_mut().is_some_and(|agent| is_due(&mut agent.keeper_timer, now)) {
            self.keeper_hears(host, Input::Timeout);
        }
    }

    /// Hands an event to the core and carries out what it asks for.
    pub fn core_hears(&mut self, host: HostId, event: Event) {
        let now = self.clock_now(host);
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let settings_may_change = match &event {
            Event::View { .. } | Event::Began(_) | Event::Configured(_) => true,
            Event::StoreLost(_)
            | Event::Lease(_)
            | Event::PostmasterExited { .. }
            | Event::Guard(_)
            | Event::Request(..)
            | Event::Done { .. }
            | Event::Freed { .. } => false,
        };
        agent.ha.handle(event, now);
        self.pump(host);
        if settings_may_change {
            self.apply_ttl(host);
        }
    }

    fn apply_ttl(&mut self, host: HostId) {
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let ttl = agent.ha.settings().ttl;
        if ttl != agent.ttl {
            agent.ttl = ttl;
            self.keeper_hears(host, Input::SetTtl(ttl));
        }
    }

    fn pump(&mut self, host: HostId) {
        while let Some(effect) = self.hosts[host].agent.as_mut().and_then(|a| a.ha.poll_effect()) {
            self.begin(host, effect);
        }
        self.tell_decision(host);
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let permission = agent.ha.permission();
        if permission != agent.permitted {
            agent.permitted = permission;
            if let Some(until) = permission {
                self.keeper_hears(host, Input::Permit { until });
            }
        }
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let promises = agent.ha.promises();
        if promises != agent.promised {
            agent.promised = promises;
            self.keeper_hears(host, Input::Promised(promises));
        }
        self.schedule_core_timer(host);
    }

    /// The host's clock runs at another speed: what waits for it comes at other moments than was thought.
    pub(crate) fn rearm(&mut self, host: HostId) {
        let machine = &mut self.hosts[host];
        machine.guard.timer = None;
        if let Some(agent) = machine.agent.as_mut() {
            (agent.core_timer, agent.keeper_timer) = (None, None);
        }
        self.schedule_core_timer(host);
        self.schedule_keeper_timer(host);
        self.guard_looks(host);
    }

    fn schedule_core_timer(&mut self, host: HostId) {
        let Host { clock, agent, incarnation, .. } = &mut self.hosts[host];
        let Some(agent) = agent else { return };
        let Some((tick, _)) = agent.ha.poll_timeout() else { return };
        let at = clock.reaches(tick).max(self.now);
        if agent.core_timer.is_none_or(|scheduled| at < scheduled) {
            agent.core_timer = Some(at);
            let incarnation = *incarnation;
            self.schedule_at(at, Happening::Agent { host, incarnation, what: ToAgent::CoreTimer });
        }
    }

    fn tell_decision(&mut self, host: HostId) {
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let mut notes = Vec::new();
        while let Some(note) = agent.ha.poll_note() {
            notes.push(note.text);
        }
        let decision = agent.ha.last_decision();
        let changed = decision.state != agent.said;
        let text = changed.then(|| decision.to_string());
        if changed {
            agent.said = decision.state.clone();
        }
        if self.trace.level != crate::trace::Level::Off {
            self.noted.extend(notes.iter().map(|note| (host, note.clone())));
        }
        for note in notes {
            self.checks.reported.hear(host, &note);
            self.say(Topic::Note, host, || note);
        }
        if let Some(text) = text {
            self.say(Topic::Decision, host, || text);
        }
    }

    pub(crate) fn keeper_hears(&mut self, host: HostId, input: Input) {
        let tick = self.boot(host);
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        agent.keeper.handle(input, tick);
        self.pump_keeper(host);
    }

    /// Publishes page and lease, sends requests, delivers results: in this order.
    fn pump_keeper(&mut self, host: HostId) {
        let Host { agent, guard, .. } = &mut self.hosts[host];
        let Some(agent) = agent else { return };
        if let Some(page) = agent.keeper.page()
            && guard.page.as_ref() != Some(page)
        {
            guard.page = Some(page.clone());
            self.guard_looks(host);
        }
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let lease = agent.keeper.lease();
        if lease != agent.lease {
            agent.lease = lease.clone();
            self.tell(host, Event::Lease(lease));
        }
        while let Some(request) = self.hosts[host].agent.as_mut().and_then(|a| a.keeper.poll_request()) {
            let name = self.hosts[host].name.clone();
            let mut ask = request.ask;
            if let keeper::Ask::Acquire { expect, .. } = &mut ask
                && self.weakness.has(Weakness::AcquireUncompared)
            {
                expect.leader = jogi_core::view::Condition::Always;
            }
            self.call_store(host, to_store(ask, name), Purpose::Keeper(request.id));
        }
        while let Some((ticket, result)) = self.hosts[host].agent.as_mut().and_then(|a| a.keeper.poll_result()) {
            let outcome = result.map(|outcome| match outcome {
                keeper::Outcome::Acquired(taken) => Yield::Acquired(taken),
                keeper::Outcome::Released(was_ours) => Yield::Released(was_ours),
            });
            self.send_outcome(host, EffectId(ticket.0), outcome, Duration::ZERO);
        }
        self.schedule_keeper_timer(host);
    }

    fn schedule_keeper_timer(&mut self, host: HostId) {
        let Host { clock, agent, incarnation, .. } = &mut self.hosts[host];
        let Some(agent) = agent else { return };
        let Some((tick, _)) = agent.keeper.poll_timeout() else { return };
        let at = clock.reaches(tick).max(self.now);
        if agent.keeper_timer.is_none_or(|scheduled| at < scheduled) {
            agent.keeper_timer = Some(at);
            let incarnation = *incarnation;
            self.schedule_at(at, Happening::Agent { host, incarnation, what: ToAgent::KeeperTimer });
        }
    }

    /// Somebody asks this agent for something. `None`: nobody is there to hear it.
    pub fn ask_agent(&mut self, host: HostId, request: Request) -> Option<RequestId> {
        self.request(host, request, Requester::Operator)
    }

    pub(crate) fn request(&mut self, host: HostId, request: Request, from: Requester) -> Option<RequestId> {
        if matches!(request, Request::Reinitialize { .. }) {
            self.checks.reported.asked_to_copy(host);
        }
        let agent = self.hosts[host].agent.as_mut()?;
        agent.last_request += 1;
        let id = RequestId(agent.last_request);
        agent.requests.insert(id, from);
        self.tell(host, Event::Request(id, request));
        Some(id)
    }

    /// Delivers an outcome after `wait`.
    pub(crate) fn send_outcome(&mut self, host: HostId, id: EffectId, outcome: Outcome, wait: Duration) {
        let incarnation = self.hosts[host].incarnation;
        let what = ToAgent::Outcome(id, Box::new(outcome));
        self.schedule(wait, Happening::Agent { host, incarnation, what });
    }

    /// An effect has ended: its one `Done`, or `Freed` when it was reported stuck.
    pub(crate) fn done(&mut self, host: HostId, id: EffectId, outcome: Outcome) {
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let Some(work) = agent.works.get_mut(&id) else { return };
        if self.trouble_one_in > 0 && !std::mem::replace(&mut work.troubled, true) {
            let lane = work.effect.lane.clone();
            let deadline = work.effect.deadline;
            if self.rng.one_in(self.trouble_one_in) {
                return self.trouble(host, id, outcome, &lane, deadline);
            }
        }
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let Some(work) = agent.works.remove(&id) else { return };
        self.say(Topic::Effect, host, || format!("  {} {}: {}", work.effect.act.name(), id.0, brief(&outcome)));
        if work.stuck {
            self.core_hears(host, Event::Freed { id });
        } else {
            self.core_hears(host, Event::Done { id, outcome });
        }
        self.release_held(host);
    }

    /// The outcome does not come as it should. One that is lost comes out at its effect's deadline, as whoever waits for it
    /// must see to; the work's real end is noticed later.
    fn trouble(&mut self, host: HostId, id: EffectId, outcome: Outcome, lane: &Lane, deadline: Duration) {
        let draw = self.rng.range(0, 3);
        if draw == 0 && *lane != Lane::Lock && deadline <= LOST_FOR_AT_MOST {
            self.counts.dones_lost += 1;
            self.say(Topic::Effect, host, || format!("  the outcome of effect {} is lost", id.0));
            let wait = deadline + self.rng.millis(10, 5_000);
            return self.send_outcome(host, id, outcome, wait);
        }
        if draw == 1 {
            self.counts.dones_reordered += 1;
            self.say(Topic::Effect, host, || format!("  the outcome of effect {} waits for another", id.0));
            let Some(agent) = self.hosts[host].agent.as_mut() else { return };
            agent.held.push((id, outcome));
            return;
        }
        self.counts.dones_late += 1;
        self.say(Topic::Effect, host, || format!("  the outcome of effect {} is late", id.0));
        let wait = self.rng.millis(20, 3_000);
        self.send_outcome(host, id, outcome, wait);
    }

    /// What waited for another outcome comes after it.
    pub(crate) fn release_held(&mut self, host: HostId) {
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        for (id, outcome) in std::mem::take(&mut agent.held) {
            self.send_outcome(host, id, outcome, Duration::ZERO);
        }
    }

    fn deadline(&mut self, host: HostId, id: EffectId) {
        let Some(work) = self.hosts[host].agent.as_mut().and_then(|a| a.works.get_mut(&id)) else { return };
        if work.stuck {
            return;
        }
        if work.effect.lane.is_question() {
            let waited = work.effect.deadline.as_millis();
            let why = format!("{}: no answer within {waited} ms", work.effect.act.name());
            return self.done(host, id, Err(Failure::Unreachable(why)));
        }
        work.stuck = true;
        self.counts.stuck += 1;
        self.say(Topic::Effect, host, || format!("  effect {} is stuck", id.0));
        self.core_hears(host, Event::Done { id, outcome: Err(Failure::Stuck) });
    }

    /// The effect of this agent's run, when it is still being carried out.
    pub(crate) fn work(&self, host: HostId, id: EffectId) -> Option<&Work> {
        self.hosts[host].agent.as_ref()?.works.get(&id)
    }
}

/// Whether a timer that has come up is the one that was wanted last, which it is no more then. A timer that was
/// replaced by an earlier one comes up all the same: it must not set off another, or each would go on for ever.
pub(crate) fn is_due(timer: &mut Option<Moment>, now: Moment) -> bool {
    let due = timer.is_none_or(|wanted| wanted <= now);
    if due {
        *timer = None;
    }
    due
}

/// The address of a host.
pub fn address(host: HostId) -> String {
    format!("10.0.0.{}", host + 1)
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Ok(Yield::Looked(server)) => format!("{:?}, {:?}", server.process, server.row.as_ref().map(|r| r.position())),
        Ok(other) => format!("{other:?}"),
        Err(failure) => format!("{failure:?}"),
    }
}

fn to_store(ask: keeper::Ask, name: MemberName) -> store::Request {
    match ask {
        keeper::Ask::Open { ttl } => store::Request::OpenSession { ttl },
        keeper::Ask::Beat { session, read_leader } => store::Request::Beat { session, read_leader },
        keeper::Ask::Reattach { session, created } => store::Request::Reattach { session, name, created },
        keeper::Ask::Acquire { session, expect } => store::Request::Acquire { session, name, expect },
        keeper::Ask::Release { created, status } => store::Request::Release { name, created, status },
    }
}

fn to_keeper(answer: store::Answer) -> keeper::Answer {
    match answer {
        store::Answer::Opened(session) => keeper::Answer::Opened(session),
        store::Answer::Extended { leader } => keeper::Answer::Extended { leader },
        store::Answer::Acquired { created, .. } => keeper::Answer::Ours { created },
        store::Answer::Released(was_ours) => keeper::Answer::Released(was_ours),
        store::Answer::Conflict => keeper::Answer::Conflict,
        store::Answer::SessionGone => keeper::Answer::SessionGone,
        store::Answer::Error(why) => keeper::Answer::Nothing(why),
        store::Answer::Loaded(_) | store::Answer::Closed | store::Answer::Wrote(_) => {
            keeper::Answer::Nothing("the answer to another question".to_owned())
        }
    }
}

use crate::world::Host;

/// The commands of the keeper's lane, as inputs.
pub(crate) fn keeper_input(effect: &Effect, now: Tick) -> Option<Input> {
    let (ticket, deadline) = (Ticket(effect.id.0), now + effect.deadline);
    if let Act::Acquire { expect } = &effect.act {
        return Some(Input::Acquire { ticket, expect: expect.clone(), deadline });
    }
    if let Act::Release { status } = &effect.act {
        return Some(Input::Release { ticket, status: status.clone(), deadline });
    }
    let Act::ReleaseStale { created, status } = &effect.act else { return None };
    Some(Input::ReleaseStale { ticket, created: created.clone(), status: status.clone(), deadline })
}
