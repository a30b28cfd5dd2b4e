//! What must hold, whatever happens: one file each.
//!
//! Every check reads the world's truth (true time, the store's contents, logs, processes), never what a member
//! believes. The first violation stops the world.

mod acknowledged;
mod bootstrap_once;
mod hung_is_noticed;
mod lag_of_the_winner;
mod lanes;
mod lease_covers_writer;
pub mod liveness;
pub mod lost_rows;
mod one_history;
pub mod permanent_slots;
mod reported;
mod single_writer;
mod strays_are_closed;

use std::collections::BTreeSet;
use std::time::Duration;

use jogi_core::MemberName;
use jogi_core::ha::Effect;
use jogi_core::view::Key;

use crate::agent::Agent;
use crate::clock::Moment;
use crate::net::HostId;
use crate::trace::Topic;
use crate::world::{Host, World};

/// Something that must not happen has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub at: Moment,
    pub check: &'static str,
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} s: {}: {}", self.at, self.check, self.text)
    }
}

/// The memory of the checks.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub violations: Vec<Violation>,
    announced: usize,
    acknowledged: acknowledged::Acknowledged,
    bootstrap_once: bootstrap_once::BootstrapOnce,
    hung_is_noticed: hung_is_noticed::HungIsNoticed,
    lag_of_the_winner: lag_of_the_winner::LagOfTheWinner,
    lanes: lanes::Lanes,
    lease_covers_writer: lease_covers_writer::LeaseCoversWriter,
    strays_are_closed: strays_are_closed::StraysAreClosed,
    pub reported: reported::Reported,
    /// What is promised without pause does not hold before this moment.
    lenient_until: Moment,
    /// Before this moment a writer may be covered by the others' promises instead of the leader key.
    promised_until: Moment,
    known: Known,
    /// The herd has been paused at some time.
    was_paused: bool,
    unheard: BTreeSet<HostId>,
}

/// What the dynamic configuration in the store says about the promises.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    pause: bool,
    failsafe: bool,
    sync: bool,
    ttl: Duration,
}

/// What the store says, read again when it has changed and not at every step.
#[derive(Clone, Debug, Default)]
struct Known {
    revision: u64,
    /// The revision of the `config` key.
    config: u64,
    rules: Option<Rules>,
    holder: Holder,
}

/// Who holds the leader key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Nobody,
    Host(HostId),
    /// A name that no host has.
    Stranger,
}

impl Holder {
    fn of(world: &World) -> Holder {
        match world.store.leader() {
            None => Holder::Nobody,
            Some(name) => world.host_named(name).map_or(Holder::Stranger, Holder::Host),
        }
    }

    fn host(self) -> Option<HostId> {
        match self {
            Holder::Host(host) => Some(host),
            Holder::Nobody | Holder::Stranger => None,
        }
    }
}

/// Some of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hosts(u64);

impl Hosts {
    /// Those whose server can commit at this moment.
    fn that_can_commit(world: &World) -> Hosts {
        let bits =
            world.hosts.iter().enumerate().map(|(id, host)| u64::from(host.pg.can_commit() && !host.remote) << id);
        Hosts(bits.fold(0, |all, bit| all | bit))
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }

    fn without(self, host: HostId) -> Hosts {
        Hosts(self.0 & !(1 << host))
    }
}

impl Rules {
    fn of(world: &World) -> Rules {
        let settings = world.store.settings();
        Rules { pause: settings.pause, failsafe: settings.failsafe_mode, sync: settings.is_sync(), ttl: settings.ttl }
    }
}

impl Checks {
    pub fn failed(&self) -> bool {
        !self.violations.is_empty()
    }

    pub fn fail(&mut self, at: Moment, check: &'static str, text: String) {
        self.violations.push(Violation { at, check, text });
    }

    /// The next promises are not checked for a while: an operator has changed the store by hand.
    pub fn be_lenient(&mut self, until: Moment) {
        self.lenient_until = self.lenient_until.max(until);
    }

    /// What was acknowledged and the leader does not have, now that everything has come to rest.
    pub fn at_the_end(world: &mut World) {
        let Some(primary) = world.leader_host().filter(|host| world.hosts[*host].pg.can_commit()) else { return };
        let missing = world.checks.acknowledged.missing(world, primary);
        world.checks.violations.extend(missing);
    }

    /// Before a member begins something that may discard rows.
    pub fn before_effect(world: &mut World, host: HostId, effect: &Effect) {
        let mut reported = std::mem::take(&mut world.checks.reported);
        let found = reported.check(world, host, effect);
        world.checks.reported = reported;
        world.checks.violations.extend(found);
    }

    /// Looks at everything after each step of the world.
    pub fn after_step(world: &mut World) {
        // Their memory is much: it is not moved at every step.
        let idle = world.idle_checks.take().unwrap_or_default();
        let mut checks = std::mem::replace(&mut world.checks, idle);
        checks.look(world);
        let new = checks.violations.get(checks.announced..).unwrap_or_default();
        new.iter().for_each(|violation| world.announce(Topic::Violation, || violation.to_string()));
        checks.announced = checks.violations.len();
        world.counts.hung_noticed = checks.hung_is_noticed.noticed;
        world.idle_checks = Some(std::mem::replace(&mut world.checks, checks));
    }

    fn look(&mut self, world: &World) {
        let Known { rules, holder, .. } = *self.know(world);
        let rules = rules.unwrap_or_default();
        let committing = Hosts::that_can_commit(world);
        self.lease_covers_writer.notice(holder);
        let a_while = world.now + rules.ttl + Duration::from_secs(15);
        if rules.pause {
            self.lenient_until = self.lenient_until.max(a_while);
        }
        if rules.failsafe {
            self.promised_until = self.promised_until.max(a_while);
        }
        self.was_paused |= rules.pause;
        if self.was_paused {
            self.note_who_has_not_heard(world);
        }
        let lenient = world.now < self.lenient_until;
        let writers = || self.writers(world);
        let promised = world.now < self.promised_until;
        let mut found = single_writer::check(world, committing, lenient, writers);
        let covers = &self.lease_covers_writer;
        found = found.or_else(|| covers.check(world, (committing, holder), lenient, promised, writers));
        self.found(found);
        self.found(one_history::check(world));
        let found = self.bootstrap_once.check(world);
        self.found(found);
        let found = self.acknowledged.check(world, holder.host(), &rules, lenient);
        self.found(found);
        let found = self.lag_of_the_winner.check(world, lenient);
        self.found(found);
        let found = self.hung_is_noticed.check(world, holder.host(), &rules);
        self.found(found);
        let found = self.strays_are_closed.check(world, lenient, promised);
        self.found(found);
    }

    fn found(&mut self, violation: Option<Violation>) {
        if let Some(violation) = violation {
            self.violations.push(violation);
        }
    }

    /// A pause ends for a member when it hears of it: until then nothing guards its primary, and from then on it is
    /// being closed. Those servers are exempt until they are gone.
    fn note_who_has_not_heard(&mut self, world: &World) {
        for (id, host) in world.hosts.iter().enumerate() {
            let unguarded = host.pg.can_commit() && !host.guard.armed;
            let paused = || host.agent.as_ref().is_none_or(|a| a.ha.settings().pause);
            if host.pg.is_gone() || host.guard.armed {
                self.unheard.remove(&id);
            } else if unguarded && paused() {
                self.unheard.insert(id);
            }
        }
    }

    /// The members that can commit, and to whom the promises apply: not to a server that somebody else has started,
    /// until it is fenced.
    fn writers<'a>(&self, world: &'a World) -> Vec<&'a Host> {
        let applies =
            |id: &usize, host: &Host| host.pg.can_commit() && !host.stray && !host.remote && !self.unheard.contains(id);
        world.hosts.iter().enumerate().filter(|(id, h)| applies(id, h)).map(|(_, h)| h).collect()
    }

    fn know(&mut self, world: &World) -> &Known {
        let revision = world.store.revision();
        if self.known.rules.is_none() || self.known.revision != revision {
            let config = world.store.changed(&Key::Config);
            let rules = self.known.rules.filter(|_| self.known.config == config);
            let rules = rules.or_else(|| Some(Rules::of(world)));
            self.known = Known { revision, config, rules, holder: Holder::of(world) };
        }
        &self.known
    }

    pub(crate) fn effect_begins(&mut self, at: Moment, name: &MemberName, effect: &Effect, agent: Option<&Agent>) {
        if let Some(text) = self.lanes.check(name, effect, agent) {
            self.fail(at, "effects of one lane never overlap", text);
        }
    }
}
