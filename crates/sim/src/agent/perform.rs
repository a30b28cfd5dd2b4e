//! The beginning of each effect: who does the work, and what it changes at once.

use std::sync::Arc;
use std::time::Duration;

use jogi_core::ha::{Act, Effect, EffectId, Failure, Lane, Stop, Upstream, Yield};
use jogi_core::view::Write;

use super::{Stall, Work, keeper_input, pace};
use crate::agent::ToAgent;
use crate::dcs::Purpose;
use crate::invariants::Checks;
use crate::net::HostId;
use crate::peers::{Asked, Question};
use crate::postgres::Hang;
use crate::postgres::data::{Dir, HalfMade, Making};
use crate::store;
use crate::trace::Topic;
use crate::weakness::Weakness;
use crate::world::{Happening, World};

/// A query that nobody answers is given up after so long.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

impl World {
    /// Begins an effect of the host's agent.
    pub(crate) fn begin(&mut self, host: HostId, effect: Effect) {
        self.counts.effects += 1;
        *self.counts.effects_by_name.entry(effect.act.name()).or_default() += 1;
        self.say(Topic::Effect, host, || format!("> {} {} {:?}", effect.act.name(), effect.id.0, effect.act));
        self.checks.effect_begins(self.now, &self.hosts[host].name, &effect, self.hosts[host].agent.as_ref());
        if matches!(effect.act, Act::Rewind { .. } | Act::PutAside { .. }) {
            Checks::before_effect(self, host, &effect);
        }
        let effect = Arc::new(effect);
        let id = effect.id;
        let tick = self.boot(host);
        let began_with = self.began_with(host, &effect.act);
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        agent.works.insert(id, Work { effect: effect.clone(), stuck: false, troubled: false, began_with });
        let deadline = self.hosts[host].clock.reaches(tick + effect.deadline);
        let incarnation = self.hosts[host].incarnation;
        if effect.lane != Lane::Lock {
            self.schedule_at(deadline, Happening::Agent { host, incarnation, what: ToAgent::Deadline(id) });
        }
        let World { hosts, rng, .. } = self;
        let slow = hosts[host].pg.slow_disk;
        let wait = pace::duration(&effect.act, slow, rng);
        match &effect.act {
            Act::Acquire { .. } | Act::Release { .. } | Act::ReleaseStale { .. } => {
                if let Some(input) = keeper_input(&effect, tick) {
                    self.keeper_hears(host, input);
                }
            }
            Act::Load => self.call_store(host, store::Request::Load, Purpose::Effect(id)),
            Act::Write(write) => self.write(host, id, write.clone()),
            Act::Ask { member, .. } => self.ask_peer(host, id, member.as_str(), Asked::Status),
            Act::AskFailsafe { member, body, .. } => {
                self.ask_peer(host, id, member.as_str(), Asked::Failsafe(body.clone()));
            }
            Act::Cancel { effect: other } => {
                self.cancel(host, *other);
                self.finish_after(host, id, Duration::ZERO);
            }
            Act::Reply { .. } | Act::Exit { .. } => self.finish_after(host, id, Duration::ZERO),
            Act::Look => {
                let hung = hosts[host].pg.running.is_some() && hosts[host].pg.hang() == Hang::Everything;
                self.finish_after(host, id, if hung { QUERY_TIMEOUT } else { wait });
            }
            Act::Fence { kill } => self.fence(host, id, *kill),
            Act::Initdb | Act::Clone { .. } | Act::SingleUser | Act::Rewind { .. } => {
                self.change_begins(host, &effect.act);
                self.schedule(wait, Happening::Program { host, incarnation, effect });
            }
            Act::ArchivePending
            | Act::ArchiveShutdown
            | Act::Script { .. }
            | Act::Launch { .. }
            | Act::Promote { .. } => {
                self.schedule(wait, Happening::Program { host, incarnation, effect });
            }
            Act::Compare { .. }
            | Act::FindEndOfWal
            | Act::ReadHistory { .. }
            | Act::ReserveTimelines { .. }
            | Act::Intend { .. }
            | Act::Settle
            | Act::Configure { .. }
            | Act::Reload
            | Act::SyncNames { .. }
            | Act::Signal { .. }
            | Act::Arm { .. }
            | Act::OpenWatchdog { .. }
            | Act::CloseWatchdog
            | Act::TryWatchdog
            | Act::PostBootstrap
            | Act::PutAside { .. }
            | Act::RemoveCopies { .. }
            | Act::Checkpoint
            | Act::ResumeReplay
            | Act::Slots { .. }
            | Act::LogicalSlots { .. }
            | Act::AskHorizon { .. }
            | Act::FetchSlots { .. }
            | Act::InstallSlots { .. }
            | Act::Callback { .. }
            | Act::SaveDynamic { .. } => self.finish_after(host, id, wait),
        }
    }

    /// Whose server must live through the work.
    fn began_with(&self, host: HostId, act: &Act) -> Option<(HostId, u64)> {
        let source = match copied_from(act) {
            Some(source) => self.host_of(source)?,
            None => host,
        };
        Some((source, self.hosts[source].pg.server))
    }

    /// The member's host, by name or by address.
    pub(crate) fn host_of(&self, upstream: &Upstream) -> Option<HostId> {
        match &upstream.member {
            Some(name) => self.host_named(name.as_str()),
            None => self.remote_to_reach(&self.remotes(upstream)),
        }
    }

    /// The hosts that have the addresses of a remote primary, in its order.
    pub(crate) fn remotes(&self, upstream: &Upstream) -> Vec<HostId> {
        let at = |wanted: &str| (0..self.hosts.len()).find(|host| super::address(*host) == wanted);
        upstream.addresses().filter_map(|(host, _)| at(host)).collect()
    }

    fn finish_after(&mut self, host: HostId, id: EffectId, wait: Duration) {
        let incarnation = self.hosts[host].incarnation;
        self.schedule(wait, Happening::Agent { host, incarnation, what: ToAgent::Finish(id) });
    }

    fn write(&mut self, host: HostId, id: EffectId, write: Write) {
        self.call_store(host, store::Request::Write(write), Purpose::Effect(id));
    }

    fn ask_peer(&mut self, host: HostId, id: EffectId, member: &str, asked: Asked) {
        let Some(to) = self.host_named(member) else {
            let why = format!("nobody is named {member}");
            return self.send_outcome(host, id, Err(Failure::Unreachable(why)), Duration::ZERO);
        };
        let incarnation = self.hosts[host].incarnation;
        self.send_question(Question { from: host, incarnation, effect: id, to, asked });
    }

    /// The program of another effect is killed; what the guard was told stays told.
    fn cancel(&mut self, host: HostId, id: EffectId) {
        let program = self.work(host, id).is_some_and(|work| match &work.effect.act {
            Act::Initdb
            | Act::Clone { .. }
            | Act::SingleUser
            | Act::Rewind { .. }
            | Act::ArchivePending
            | Act::ArchiveShutdown
            | Act::Script { .. }
            | Act::Checkpoint
            | Act::PostBootstrap => true,
            Act::Acquire { .. }
            | Act::Release { .. }
            | Act::ReleaseStale { .. }
            | Act::Load
            | Act::Write(_)
            | Act::Look
            | Act::Ask { .. }
            | Act::AskFailsafe { .. }
            | Act::Compare { .. }
            | Act::FindEndOfWal
            | Act::ReadHistory { .. }
            | Act::ReserveTimelines { .. }
            | Act::Intend { .. }
            | Act::Settle
            | Act::Configure { .. }
            | Act::Reload
            | Act::SyncNames { .. }
            | Act::Launch { .. }
            | Act::Signal { .. }
            | Act::Fence { .. }
            | Act::Promote { .. }
            | Act::Arm { .. }
            | Act::OpenWatchdog { .. }
            | Act::CloseWatchdog
            | Act::TryWatchdog
            | Act::PutAside { .. }
            | Act::RemoveCopies { .. }
            | Act::ResumeReplay
            | Act::Slots { .. }
            | Act::LogicalSlots { .. }
            | Act::AskHorizon { .. }
            | Act::FetchSlots { .. }
            | Act::InstallSlots { .. }
            | Act::Callback { .. }
            | Act::SaveDynamic { .. }
            | Act::Cancel { .. }
            | Act::Reply { .. }
            | Act::Exit { .. } => false,
        });
        if program {
            let wait = self.rng.millis(2, 30);
            self.send_outcome(host, id, Err(Failure::Cancelled), wait);
        }
    }

    fn fence(&mut self, host: HostId, id: EffectId, kill: bool) {
        let by_postmaster = self.weakness.has(Weakness::Known(jogi_core::Weakness::FenceByPostmaster));
        if kill {
            let World { hosts, rng, .. } = self;
            let pg = &mut hosts[host].pg;
            let news = if by_postmaster { pg.kill_postmaster(rng) } else { pg.kill_all(rng) };
            self.postgres_news(host, news);
        }
        let fenced = self.hosts[host].pg.is_gone()
            || self.weakness.has(Weakness::FenceAtOnce)
            || (by_postmaster && self.hosts[host].pg.running.is_none());
        if fenced && self.work(host, id).is_some() {
            self.send_outcome(host, id, Ok(Yield::Done), Duration::from_millis(1));
        }
    }

    /// Nothing is left of the host's server: who waited for that has its answer.
    pub fn fences_end(&mut self, host: HostId) {
        let Some(agent) = self.hosts[host].agent.as_ref() else { return };
        let fences = agent.works.values().filter(|w| matches!(w.effect.act, Act::Fence { .. }));
        let ids: Vec<EffectId> = fences.map(|w| w.effect.id).collect();
        for id in ids {
            self.send_outcome(host, id, Ok(Yield::Done), Duration::from_millis(1));
        }
    }

    /// A program begins to change the data directory.
    fn change_begins(&mut self, host: HostId, act: &Act) {
        let name = self.hosts[host].name.clone();
        let running = !self.hosts[host].pg.is_gone();
        let reachable = self.source_of(act).is_none_or(|source| self.serves_copies(host, source));
        let now = self.now;
        if running {
            self.checks.fail(now, "the data directory is changed under a server", format!("{name}: {}", act.name()));
        }
        let source = self.source_of(act).and_then(|source| self.hosts[source].pg.data().cloned());
        let looks_whole = source.filter(|_| self.weakness.has(Weakness::NoIntent)).map(Box::new);
        let World { hosts, .. } = self;
        let dir = &mut hosts[host].pg.dir;
        let Some(making) = making(act) else { return };
        match (making, &*dir) {
            (Making::Initdb | Making::Clone, Dir::Empty) => {
                *dir = Dir::HalfMade(HalfMade { by: making, looks_like: looks_whole });
            }
            (Making::Initdb, Dir::Whole(_) | Dir::HalfMade(_)) => {
                self.checks.fail(now, "a directory with data is initialised again", format!("{name}: initdb"));
            }
            (Making::Clone, Dir::Whole(_) | Dir::HalfMade(_)) => {}
            (Making::Rewind, Dir::Whole(data)) if reachable => {
                let looks_like = Some(Box::new(data.clone()));
                *dir = Dir::HalfMade(HalfMade { by: Making::Rewind, looks_like });
            }
            (Making::Rewind, Dir::Empty | Dir::HalfMade(_) | Dir::Whole(_)) => {}
        }
    }

    fn source_of(&self, act: &Act) -> Option<HostId> {
        copied_from(act).and_then(|source| self.host_of(source))
    }

    /// Whether `source` answers a copying program on `host`.
    pub(crate) fn serves_copies(&self, host: HostId, source: HostId) -> bool {
        use crate::net::Node::Host;
        self.hosts[source].powered && self.hosts[source].pg.accepts() && self.net.connected(Host(host), Host(source))
    }

    /// The signals of the fence's lane.
    pub(crate) fn signal(&mut self, host: HostId, stop: Stop) -> Result<Yield, Failure> {
        let World { hosts, rng, .. } = self;
        let pg = &mut hosts[host].pg;
        if pg.running.is_none() {
            return Err(Failure::Failed("no postmaster is running".to_owned()));
        }
        match stop {
            Stop::Fast => pg.fast(rng),
            Stop::Immediate => pg.immediate(rng),
        }
        self.postgres_news(host, vec![crate::postgres::News::Changed]);
        Ok(Yield::Done)
    }

    /// Whether this run of the agent still lives and works.
    pub(crate) fn agent_lives(&self, host: HostId, incarnation: u64) -> bool {
        self.hosts[host].incarnation == incarnation && self.hosts[host].agent.is_some()
    }

    pub fn is_frozen(&self, host: HostId) -> bool {
        self.hosts[host].agent.as_ref().is_some_and(|a| a.stall == Stall::Everything)
    }
}

/// What a program copies from, if it is one that copies.
fn copied_from(act: &Act) -> Option<&Upstream> {
    if let Act::Clone { source, .. } = act {
        return source.as_ref();
    }
    if let Act::Rewind { source } = act { Some(source) } else { None }
}

/// How a program leaves the data directory while it works on it.
fn making(act: &Act) -> Option<Making> {
    let found = [
        (matches!(act, Act::Initdb), Making::Initdb),
        (matches!(act, Act::Clone { .. }), Making::Clone),
        (matches!(act, Act::Rewind { .. }), Making::Rewind),
    ];
    found.into_iter().find(|(is, _)| *is).map(|(_, making)| making)
}
