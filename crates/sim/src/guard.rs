//! The guard of one host: the postmaster's parent, with the page that the lease keeper writes.
//!
//! The verdicts are the guard's own ([`jogi_core::lease::Custody`]); only signals and processes are modelled. It is a
//! process of its own: it goes on while the agent is killed or frozen. When it is killed, the parent-death signal
//! shuts a postmaster down that is its child, and an adopted one lives on.

use jogi_core::ha::{GuardNews, LaunchAs};
use jogi_core::lease::keeper::Page;
use jogi_core::lease::{Custody, Lease, Server, Verdict};
use jogi_core::{Tick, Weakness as Known};

use crate::agent::is_due;
use crate::clock::Moment;
use crate::net::HostId;
use crate::postgres::Phase;
use crate::trace::Topic;
use crate::weakness::Weakness;
use crate::world::{Happening, Host, World};

/// One host's guard and the page that it shares with the agent.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pub alive: bool,
    /// The lease as the keeper last published it; outlives the agent, and goes with the guard.
    pub page: Option<Page>,
    pub armed: bool,
    custody: Custody,
    killing: bool,
    /// When it looks again.
    pub(crate) timer: Option<Moment>,
    pub closed_at_soft: u64,
    pub killed_at_hard: u64,
}

impl Guard {
    pub fn lease(&self) -> Lease {
        Lease {
            generation: self.page.as_ref().map_or(0, |p| p.generation.0),
            deadlines: self.page.as_ref().map(|p| p.deadlines).unwrap_or_default(),
            armed: self.armed,
        }
    }

    /// May a server be made writable under `generation` now?
    pub fn permit(&self, generation: u64, now: Tick) -> Result<(), String> {
        Custody::permit(&self.lease(), generation, now).map_err(|refusal| format!("the guard refuses: {refusal:?}"))
    }

    /// Puts the running primary under `generation`.
    pub fn hold(&mut self, generation: u64, now: Tick) -> Result<(), String> {
        let lease = self.lease();
        self.custody.hold(&lease, generation, now).map_err(|refusal| format!("the guard refuses: {refusal:?}"))
    }

    pub fn server_is(&mut self, server: Server) {
        self.killing &= server != Server::None;
        self.custody.is(server);
    }

    pub fn launched(&mut self, as_: LaunchAs) {
        self.server_is(match as_ {
            LaunchAs::Standby => Server::Standby,
            LaunchAs::Primary { generation } => Server::Primary { generation: Some(generation.0) },
            LaunchAs::Bootstrap => Server::Primary { generation: None },
        });
    }

    pub fn condemn(&mut self) {
        self.custody.condemn();
    }

    /// It knows of a server.
    fn has_server(&self) -> bool {
        self.alive && self.custody.server() != Server::None
    }
}

/// How late a late guard is.
const LATE: std::time::Duration = std::time::Duration::from_millis(1500);
/// While it kills, it looks again after so long.
const KILL_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

impl World {
    /// The guard looks at page, clock and server, and acts.
    pub fn guard_looks(&mut self, host: HostId) {
        if self.weakness.has(Weakness::Known(Known::NoDeadlines)) {
            return;
        }
        let late = if self.weakness.has(Weakness::GuardIsLate) { LATE } else { std::time::Duration::ZERO };
        let tick = self.boot(host) - late;
        let guard = &mut self.hosts[host].guard;
        if !guard.alive {
            return;
        }
        let lease = guard.lease();
        match guard.custody.look(&lease, tick) {
            Verdict::Rest => {}
            Verdict::Wait(until) => self.schedule_guard(host, until),
            Verdict::FastShutdown => {
                guard.closed_at_soft += 1;
                self.counts.closed_at_soft += 1;
                self.say(Topic::Guard, host, || "guard: the lease runs out, fast shutdown".to_owned());
                let World { hosts, rng, .. } = self;
                hosts[host].pg.fast(rng);
                self.settle_postgres(host);
                self.tell(host, jogi_core::ha::Event::Guard(GuardNews::ClosedAtSoft));
                self.guard_looks(host);
            }
            Verdict::KillAll => self.guard_kills(host, tick),
        }
    }

    fn guard_kills(&mut self, host: HostId, tick: Tick) {
        if self.weakness.has(Weakness::GuardNeverKills) {
            return;
        }
        if !self.hosts[host].guard.killing {
            self.hosts[host].guard.killing = true;
            self.hosts[host].guard.killed_at_hard += 1;
            self.counts.killed_at_hard += 1;
            self.say(Topic::Guard, host, || "guard: kills everything that is left".to_owned());
            self.tell(host, jogi_core::ha::Event::Guard(GuardNews::KilledAtHard));
        }
        let World { hosts, rng, weakness, .. } = self;
        let by_postmaster = weakness.has(Weakness::Known(Known::FenceByPostmaster));
        let news = if by_postmaster { hosts[host].pg.kill_postmaster(rng) } else { hosts[host].pg.kill_all(rng) };
        self.postgres_news(host, news);
        if !self.hosts[host].pg.is_gone() {
            self.schedule_guard(host, tick + KILL_AGAIN);
        }
    }

    /// The postmaster has ended by itself, or was killed: whoever of its backends could still write is killed at once
    /// (`see_off` in crates/pg/src/guard/process/ending.rs).
    pub(crate) fn guard_sees_off(&mut self, host: HostId) {
        let killed = self.hosts[host].pg.orphans.is_some_and(|orphans| orphans.condemned);
        let weak = [Weakness::GuardNeverKills, Weakness::Known(Known::FenceByPostmaster)];
        if killed || !self.hosts[host].guard.has_server() || weak.iter().any(|one| self.weakness.has(*one)) {
            return;
        }
        let World { hosts, rng, .. } = self;
        let news = hosts[host].pg.kill_all(rng);
        self.postgres_news(host, news);
    }

    pub(crate) fn guard_timer(&mut self, host: HostId) {
        let now = self.now;
        if is_due(&mut self.hosts[host].guard.timer, now) {
            self.guard_looks(host);
        }
    }

    fn schedule_guard(&mut self, host: HostId, until: Tick) {
        let late = self.weakness.has(Weakness::GuardIsLate);
        let until = if late { until + LATE } else { until };
        let Host { clock, guard, .. } = &mut self.hosts[host];
        let at = clock.reaches(until).max(self.now);
        if guard.timer.is_none_or(|wanted| at < wanted) {
            guard.timer = Some(at);
            self.schedule_at(at, Happening::Guard { host });
        }
    }

    /// A guard runs on this host from now on; it takes an already running postmaster under its eyes.
    pub fn start_guard(&mut self, host: HostId) {
        let Host { guard, pg, agent, .. } = &mut self.hosts[host];
        if guard.alive {
            return;
        }
        guard.alive = true;
        guard.page = agent.as_ref().and_then(|a| a.keeper.page().cloned());
        if let Some(running) = pg.running.as_mut() {
            running.adopted = true;
            let server = match running.phase {
                Phase::Primary | Phase::ClosingClients { writable: true } => Server::Primary { generation: None },
                Phase::Recovering
                | Phase::Inconsistent
                | Phase::Standby
                | Phase::Promoting
                | Phase::ClosingClients { writable: false }
                | Phase::WritingCheckpoint
                | Phase::Draining => Server::Standby,
            };
            guard.server_is(server);
        }
        self.guard_looks(host);
    }

    /// SIGKILL to the guard.
    pub fn kill_guard(&mut self, host: HostId) {
        let World { hosts, rng, weakness, .. } = self;
        let Host { guard, pg, .. } = &mut hosts[host];
        if !guard.alive {
            return;
        }
        guard.alive = false;
        guard.armed = false;
        guard.page = None;
        guard.server_is(Server::None);
        let dies = !weakness.has(Weakness::Known(Known::NoParentDeathSignal));
        if dies && pg.running.as_ref().is_some_and(|r| !r.adopted) {
            pg.immediate(rng);
        }
        self.settle_postgres(host);
        self.tell(host, jogi_core::ha::Event::Guard(GuardNews::Died));
    }
}
