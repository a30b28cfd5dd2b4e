//! What must hold, whatever happens: one file each.
//!
//! Every check reads the world's truth (true time, the store's contents, logs, processes), never what a member
//! believes. The first violation stops the world.

mod bootstrap_once;
mod lanes;
mod lease_covers_writer;
pub mod liveness;
pub mod lost_rows;
mod one_history;
mod single_writer;

use std::time::Duration;

use jogi_core::MemberName;
use jogi_core::ha::Effect;
use jogi_core::view::Settings;
use serde_json::Value;

use crate::agent::Agent;
use crate::clock::Moment;
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
    bootstrap_once: bootstrap_once::BootstrapOnce,
    lanes: lanes::Lanes,
    lease_covers_writer: lease_covers_writer::LeaseCoversWriter,
    /// What is promised without pause does not hold before this moment.
    lenient_until: Moment,
    settings: Option<(u64, Rules)>,
    /// The herd has been paused at some time.
    was_paused: bool,
}

/// What the dynamic configuration in the store says about the promises.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    pause: bool,
    failsafe: bool,
    ttl: Duration,
}

/// The members that can commit, and to whom the promises apply: not to a server that somebody else has started, until it
/// is fenced, and not to one that has not heard of the end of a pause, in which nothing guards it.
fn writers(world: &World, was_paused: bool) -> Vec<&Host> {
    let unheard = |host: &Host| {
        let paused = host.agent.as_ref().is_none_or(|a| a.ha.snapshot(host.clock.now(world.now)).settings.pause);
        was_paused && !host.guard.armed && paused
    };
    world.hosts.iter().filter(|h| h.pg.can_commit() && !h.stray && !unheard(h)).collect()
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

    /// Looks at everything after each step of the world.
    pub fn after_step(world: &mut World) {
        let mut checks = std::mem::take(&mut world.checks);
        checks.look(world);
        let new = checks.violations.get(checks.announced..).unwrap_or_default();
        new.iter().for_each(|violation| world.announce(Topic::Violation, || violation.to_string()));
        checks.announced = checks.violations.len();
        world.checks = checks;
    }

    fn look(&mut self, world: &mut World) {
        let rules = self.rules(world);
        if rules.pause || rules.failsafe {
            self.lenient_until = self.lenient_until.max(world.now + rules.ttl + Duration::from_secs(15));
        }
        self.was_paused |= rules.pause;
        let lenient = world.now < self.lenient_until;
        let was_paused = self.was_paused;
        let writers = || writers(world, was_paused);
        let found = [
            single_writer::check(world, lenient, writers),
            self.lease_covers_writer.check(world, lenient, writers),
            one_history::check(world),
            self.bootstrap_once.check(world),
        ];
        self.violations.extend(found.into_iter().flatten());
    }

    fn rules(&mut self, world: &mut World) -> Rules {
        let revision = world.store.revision();
        match self.settings {
            Some((seen, rules)) if seen == revision => rules,
            Some(_) | None => {
                let view = world.store.view();
                let value = view.config.as_ref().map_or(&Value::Null, |c| &c.value);
                let settings = Settings::from_value(value);
                let rules = Rules { pause: settings.pause, failsafe: settings.failsafe_mode, ttl: settings.ttl };
                self.settings = Some((revision, rules));
                rules
            }
        }
    }

    pub(crate) fn effect_begins(&mut self, at: Moment, name: &MemberName, effect: &Effect, agent: Option<&Agent>) {
        if let Some(text) = self.lanes.check(name, effect, agent) {
            self.fail(at, "effects of one lane never overlap", text);
        }
    }
}
