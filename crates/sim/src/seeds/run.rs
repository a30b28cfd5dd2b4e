//! One seed's world from its beginning to its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::kind::undo_of;
use super::plan::{Await, Options, Plan, Planned, copying, empty};
use super::profile::Profile;
use crate::agent::Stall;
use crate::clock::Moment;
use crate::fault::Fault;
use crate::invariants::Checks;
use crate::invariants::liveness::why_not;
use crate::invariants::lost_rows::lost;
use crate::invariants::permanent_slots::slot_amiss;
use crate::store::Health;
use crate::trace::Level;
use crate::weakness::Weaknesses;
use crate::world::{Happening, Host, World};

/// One seed's world at its end, and the first thing that went wrong.
pub struct Ended {
    pub world: World,
    pub profile: Profile,
    pub failure: Option<Failure>,
    pub lost_rows: usize,
    /// The faults that struck.
    pub struck: Vec<Planned>,
}

/// What went wrong first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The check that failed: a failure stays the same one while its text changes.
    pub check: &'static str,
    pub text: String,
}

/// How long a herd may take until it is healthy for the first time.
const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take to heal once all is repaired.
pub const HEAL_LIMIT: Duration = Duration::from_secs(300);
/// How long a fault waits for the lock to change hands, or for what else it waits for.
const AWAITED: Duration = Duration::from_secs(15);
/// How long it is watched after that.
const REST: Duration = Duration::from_secs(20);

pub fn run_seed(seed: u64, level: Level) -> Ended {
    run_plan(&Plan::new(seed, &Options::default()), level, Weaknesses::default())
}

pub fn run_plan(plan: &Plan, level: Level, weakness: Weaknesses) -> Ended {
    let mut world = World::new(plan.herd.clone());
    world.trace.level = level;
    world.weakness = weakness;
    let members = plan.remote.unwrap_or(world.hosts.len());
    let joins = members - plan.absent;
    for (id, host) in world.hosts.iter_mut().enumerate().take(members) {
        host.restarts_after = Some(Duration::from_secs(1));
        host.clock.drift_ppm = plan.drifts[id];
        host.absent = id >= joins;
        host.quirks.local = json!({"pre_promote": plan.scripts});
    }
    if let Some(remote) = plan.remote {
        world.make_remote(remote, None).expect("an empty host takes a new server");
    }
    (0..joins).for_each(|host| world.start_agent(host));
    let mut run = Run { world, struck: Vec::new() };
    let mut failure = run.until_healthy(BOOTSTRAP_LIMIT, "after the start");
    if failure.is_none() {
        plan.clients.iter().for_each(|every| run.world.add_client(*every));
        run.world.run_for(Duration::from_secs(1));
        run.world.replication_delay = plan.profile.replication_delay();
        failure = if plan.profile.is_gentle() { run.gently(plan) } else { run.roughly(plan) };
    }
    let Run { mut world, struck } = run;
    if failure.is_none() && !world.checks.failed() {
        Checks::at_the_end(&mut world);
    }
    let lost_rows = lost(&world).map_or(0, |l| l.rows);
    if failure.is_none() && plan.profile.is_gentle() && lost_rows > 0 {
        let text = format!("acknowledged rows are lost after faults that may lose none: {:?}", lost(&world));
        failure = Some(Failure { check: "faults that may lose nothing lose nothing", text });
    }
    let violation = world.checks.violations.first();
    let violation = violation.map(|v| Failure { check: v.check, text: v.to_string() });
    Ended { failure: violation.or(failure), profile: plan.profile, lost_rows, world, struck }
}

struct Run {
    world: World,
    struck: Vec<Planned>,
}

impl Run {
    fn until_healthy(&mut self, limit: Duration, when: &str) -> Option<Failure> {
        let until = self.world.now + limit;
        let amiss = |world: &World| why_not(world).or_else(|| slot_amiss(world));
        self.world.run_while(until, |world| amiss(world).is_some());
        if self.world.checks.failed() {
            return None;
        }
        let why = amiss(&self.world)?;
        let text = format!("{when} the herd is not healthy within {} s: {why}{}", limit.as_secs(), said(&self.world));
        Some(Failure { check: "the herd heals", text })
    }

    fn ends(&self, plan: &Plan) -> bool {
        self.world.checks.failed() || plan.until.is_some_and(|until| self.world.now >= Moment(0) + until)
    }

    fn strike(&mut self, planned: &Planned) -> Option<Fault> {
        let fault = planned.kind.strike(&self.world, planned)?;
        self.struck.push(*planned);
        *self.world.counts.kinds.entry(planned.kind).or_default() += 1;
        let undo = undo_of(planned.kind, &fault);
        let number = planned.number;
        self.world.announce(crate::trace::Topic::Fault, || format!("(fault {number})"));
        self.world.inflict(fault);
        Some(undo.unwrap_or(Fault::Nothing))
    }

    /// One fault at a time; the herd has to heal before the next.
    fn gently(&mut self, plan: &Plan) -> Option<Failure> {
        for planned in &plan.faults {
            if self.ends(plan) {
                break;
            }
            let undo = self.strike(planned);
            self.world.run_for(planned.lasts);
            undo.into_iter().for_each(|undo| self.world.inflict(undo));
            self.world.run_for(Duration::from_millis(500));
            let failure = self.until_healthy(HEAL_LIMIT, "after a calm fault");
            if failure.is_some() {
                return failure;
            }
            self.world.run_for(planned.rest);
        }
        if self.world.checks.failed() { None } else { self.until_healthy(HEAL_LIMIT, "after all faults") }
    }

    /// Anything at any time; at the end, when all is repaired, the herd has to heal.
    fn roughly(&mut self, plan: &Plan) -> Option<Failure> {
        let began = self.world.now;
        for planned in &plan.faults {
            let end = plan.until.map_or(Moment(u64::MAX), |until| Moment(0) + until);
            self.world.run_until((began + planned.at).min(end));
            if let Some((what, wait)) = planned.after {
                let (until, before) = ((self.world.now + AWAITED).min(end), self.world.counts.leader_changes);
                let comes = self.world.run_while(until, |world| match what {
                    Await::Change => world.counts.leader_changes == before,
                    Await::Copy => copying(world).is_none(),
                    Await::Empty => empty(world).is_none(),
                });
                if comes {
                    self.world.run_for(wait);
                }
            }
            if self.ends(plan) {
                break;
            }
            if let Some(undo) = self.strike(planned) {
                self.world.schedule(planned.lasts, Happening::Fault(undo));
            }
        }
        if self.world.checks.failed() {
            return None;
        }
        repair(&mut self.world);
        // What was scheduled to be undone later is undone again, which harms nobody.
        let failure = self.until_healthy(HEAL_LIMIT, "after all was repaired");
        if failure.is_some() || self.world.checks.failed() {
            return failure;
        }
        self.world.run_for(REST);
        if self.world.checks.failed() { None } else { self.until_healthy(REST, "after it had healed") }
    }
}

/// What every member says at this moment.
pub fn said(world: &World) -> String {
    let line = |host: &Host| match &host.agent {
        Some(agent) => format!("\n  {}: {}", host.name, agent.ha.last_decision()),
        None => format!("\n  {}: no agent", host.name),
    };
    world.hosts.iter().map(line).collect()
}

/// Everything that was broken is made whole; what the herd has to do itself is left to it.
fn repair(world: &mut World) {
    world.inflict(Fault::HealNetwork);
    if world.store.health != Health::Well {
        world.inflict(Fault::StoreUp);
    }
    world.inflict(Fault::DelayReplication(Duration::ZERO));
    world.inflict(Fault::TroubleDones { one_in: 0 });
    world.inflict(Fault::Patch(json!({"pause": Value::Null})));
    for host in 0..world.hosts.len() {
        world.inflict(Fault::ContinueServer(host));
        world.inflict(Fault::FreeBackend(host));
        world.inflict(Fault::SlowDisk(host, 1));
        world.inflict(Fault::FreeDisk(host));
        world.inflict(Fault::DelayWatch(host, Duration::ZERO));
        world.inflict(Fault::FailClones(host, 0));
        if world.hosts[host].agent.as_ref().is_some_and(|a| a.stall != Stall::No) {
            world.inflict(Fault::ThawAgent(host));
        }
        if world.hosts[host].absent || world.hosts[host].remote {
            continue;
        }
        world.inflict(Fault::BootHost(host));
        world.inflict(Fault::StartAgent(host));
    }
}
