//! Random faults from a number.
//!
//! A seed chooses the herd, its settings, and what is done to it and when. Two profiles: in the *calm* one a single
//! fault of the kind that may lose nothing is followed by a time to heal, and then no acknowledged row may be missing; in the *chaotic*
//! one anything happens at any time, and at the end, when all is repaired, the herd has to heal.

use std::time::Duration;

use jogi_core::ha::{Request, Restart};
use serde_json::{Value, json};

use crate::agent::Stall;
use crate::fault::Fault;
use crate::invariants::liveness::{is_healthy, why_not};
use crate::invariants::lost_rows::lost;
use crate::net::{HostId, Node};
use crate::postgres::{Hang, StuckBackend};
use crate::rng::Rng;
use crate::store::Health;
use crate::trace::Level;
use crate::world::{Counts, Happening, Herd, World};

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seeds: u64,
    /// The seeds that failed, with what was violated first.
    pub failures: Vec<(u64, String)>,
    pub counts: Counts,
    pub commits: u64,
    /// Acknowledged rows that were lost; only the chaotic profile may lose any.
    pub lost_rows: u64,
    /// Virtual time that was lived through.
    pub simulated: Duration,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { seeds, failures, counts, commits, lost_rows, simulated } = self;
        write!(
            f,
            "{seeds} seeds, {} failed; {} virtual minutes, {} faults, {} effects ({} stuck), {} promotions, {} starts, \
             {} clones, {} rewinds, {commits} commits, {lost_rows} acknowledged rows lost",
            failures.len(),
            simulated.as_secs() / 60,
            counts.faults,
            counts.effects,
            counts.stuck,
            counts.promotions,
            counts.starts,
            counts.clones,
            counts.rewinds,
        )
    }
}

/// Runs `count` seeds from `from` on.
pub fn run_seeds(from: u64, count: u64) -> Report {
    let mut report = Report::default();
    for seed in from..from + count {
        let ended = run_seed(seed, Level::Off);
        report.add(seed, &ended);
    }
    report
}

/// One seed's world at its end, and the first thing that went wrong.
pub struct Ended {
    pub world: World,
    pub failure: Option<String>,
    pub lost_rows: usize,
}

impl Report {
    fn add(&mut self, seed: u64, ended: &Ended) {
        let world = &ended.world;
        self.seeds += 1;
        self.commits += world.commits;
        self.lost_rows += ended.lost_rows as u64;
        self.simulated += Duration::from_nanos(world.now.0);
        let (sum, one) = (&mut self.counts, &world.counts);
        sum.effects += one.effects;
        sum.promotions += one.promotions;
        sum.starts += one.starts;
        sum.clones += one.clones;
        sum.rewinds += one.rewinds;
        sum.bootstraps += one.bootstraps;
        sum.faults += one.faults;
        sum.stuck += one.stuck;
        if let Some(failure) = &ended.failure {
            self.failures.push((seed, failure.clone()));
        }
    }
}

/// How long a herd may take until it is healthy for the first time.
const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take to heal once all is repaired.
const HEAL_LIMIT: Duration = Duration::from_secs(300);
/// How long it is watched after that.
const REST: Duration = Duration::from_secs(20);

pub fn run_seed(seed: u64, level: Level) -> Ended {
    let mut rng = Rng::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(17));
    let mut world = World::new(herd(seed, &mut rng));
    world.trace.level = level;
    let calm = seed.is_multiple_of(4);
    for host in &mut world.hosts {
        host.restarts_after = Some(Duration::from_secs(1));
        let drift = if calm { 0 } else { rng.range(0, 10_000) as i64 - 5_000 };
        host.clock.drift_ppm = drift;
    }
    (0..world.hosts.len()).for_each(|host| world.start_agent(host));
    let mut failure = until_healthy(&mut world, BOOTSTRAP_LIMIT, "after the start");
    if failure.is_none() {
        world.add_client(rng.millis(30, 300));
        world.run_for(Duration::from_secs(1));
        failure = if calm { calmly(&mut world, &mut rng) } else { chaotically(&mut world, &mut rng) };
    }
    let lost_rows = lost(&world).map_or(0, |l| l.rows);
    if failure.is_none() && calm && lost_rows > 0 {
        failure = Some(format!("acknowledged rows are lost after faults that may lose none: {:?}", lost(&world)));
    }
    let violation = world.checks.violations.first().map(ToString::to_string);
    Ended { failure: violation.or(failure), lost_rows, world }
}

fn herd(seed: u64, rng: &mut Rng) -> Herd {
    let members = match rng.range(0, 10) {
        0 => 1,
        1 | 2 => 2,
        3..=7 => 3,
        _ => 5,
    };
    let ttl = *rng.pick(&[2, 5, 5, 10, 30]).unwrap_or(&5);
    let start_timeout = *rng.pick(&[0, 300]).unwrap_or(&300);
    let dynamic = json!({
        "ttl": ttl,
        "loop_wait": if ttl < 10 { 1 } else { ttl / 3 },
        "retry_timeout": if ttl < 10 { 1 } else { ttl / 3 },
        "primary_start_timeout": start_timeout,
        "postgresql": {
            "use_pg_rewind": true,
            "remove_data_directory_on_diverged_timelines": true,
            "remove_data_directory_on_rewind_failure": true,
        },
    });
    let names = ["a", "b", "c", "d", "e"];
    Herd { members: names.iter().take(members).map(|n| (*n).to_owned()).collect(), dynamic, seed }
}

fn until_healthy(world: &mut World, limit: Duration, when: &str) -> Option<String> {
    let until = world.now + limit;
    world.run_while(until, |world| !is_healthy(world));
    if world.checks.failed() {
        return None;
    }
    why_not(world)
        .map(|why| format!("{when} the herd is not healthy within {} s: {why}{}", limit.as_secs(), said(world)))
}

/// What every member says at this moment.
fn said(world: &World) -> String {
    let line = |host: &crate::world::Host| match &host.agent {
        Some(agent) => format!("\n  {}: {}", host.name, agent.ha.last_decision()),
        None => format!("\n  {}: no agent", host.name),
    };
    world.hosts.iter().map(line).collect()
}

// ---- one fault at a time

fn calmly(world: &mut World, rng: &mut Rng) -> Option<String> {
    for _ in 0..rng.range(3, 8) {
        let fault = harmless(world, rng);
        let undo = undo_of(&fault);
        world.inflict(fault);
        world.run_for(rng.millis(200, 45_000));
        undo.into_iter().for_each(|undo| world.inflict(undo));
        world.run_for(Duration::from_millis(500));
        if let Some(failure) = until_healthy(world, HEAL_LIMIT, "after a calm fault") {
            return Some(failure);
        }
        world.run_for(rng.millis(2_000, 10_000));
        if world.checks.failed() {
            return None;
        }
    }
    None
}

/// A fault after which nothing acknowledged may be missing while standbys stream.
fn harmless(world: &World, rng: &mut Rng) -> Fault {
    let host = any_host(world, rng);
    match rng.range(0, 13) {
        0 => Fault::KillAgent(host),
        1 => Fault::FreezeAgent(host),
        2 => Fault::StallCore(host),
        3 => Fault::StoreDown,
        4 => Fault::StoreFails("etcdserver: something new".to_owned()),
        5 => Fault::StoreAppliesAndFails("etcdserver: request timed out".to_owned()),
        6 => Fault::StoreSlow(rng.millis(10, 600)),
        7 => Fault::StoreChangesLeader,
        8 | 9 => switchover(world, rng).unwrap_or(Fault::StoreUp),
        10 => Fault::Ask(host, Request::Restart(Restart::default())),
        11 => Fault::Ask(host, Request::Shutdown),
        _ => Fault::CutStore(host),
    }
}

// ---- anything at any time

fn chaotically(world: &mut World, rng: &mut Rng) -> Option<String> {
    let until = world.now + rng.millis(60_000, 240_000);
    while world.now < until && !world.checks.failed() {
        let fault = anything(world, rng);
        if let Some(undo) = undo_of(&fault) {
            let longest = if matches!(fault, Fault::StickBackend(..)) { 150_000 } else { 40_000 };
            world.schedule(rng.millis(100, longest), Happening::Fault(undo));
        }
        world.inflict(fault);
        world.run_for(rng.millis(100, 12_000));
    }
    if world.checks.failed() {
        return None;
    }
    repair(world);
    // What was scheduled to be undone later is undone again, which harms nobody.
    let failure = until_healthy(world, HEAL_LIMIT, "after all was repaired");
    if failure.is_some() || world.checks.failed() {
        return failure;
    }
    world.run_for(REST);
    until_healthy(world, REST, "after it had healed")
}

fn anything(world: &World, rng: &mut Rng) -> Fault {
    let (host, other) = (any_host(world, rng), any_host(world, rng));
    match rng.range(0, 34) {
        0 | 1 => Fault::CrashHost(host),
        2 | 3 => Fault::Isolate(host),
        4 => Fault::CutStore(host),
        5 => Fault::CutPeers(host, other),
        6 => Fault::CutOneWay(Node::Host(host), Node::Store),
        7 => Fault::CutOneWay(Node::Store, Node::Host(host)),
        8 => Fault::CutOneWay(Node::Host(host), Node::Host(other)),
        9 => Fault::LoseMessages { one_in: rng.range(3, 30) },
        10 | 11 => Fault::KillPostmaster(host),
        12 => Fault::HangServer(host),
        13 => Fault::StopPostmaster(host),
        14 => Fault::StickBackend(host, StuckBackend::Stopped),
        15 => Fault::StickBackend(host, StuckBackend::Uninterruptible),
        16 | 17 => Fault::KillAgent(host),
        18 | 19 => Fault::FreezeAgent(host),
        20 => Fault::StallCore(host),
        // A stopped server whose guard is killed is the one gap there is: the signal waits for the server to go on.
        21 | 22 if world.hosts[host].pg.hang() != Hang::No => Fault::StoreChangesLeader,
        21 => Fault::KillTree(host),
        22 => Fault::KillGuard(host),
        23 => Fault::StoreDown,
        24 => Fault::StoreSlow(rng.millis(10, 1500)),
        25 => Fault::StoreAppliesAndFails("etcdserver: request timed out".to_owned()),
        26 => Fault::StoreChangesLeader,
        27 => Fault::DelayWatch(host, rng.millis(100, 10_000)),
        28 => Fault::DelayReplication(rng.millis(10, 2000)),
        29 => Fault::FailClones(host, 1),
        30 => Fault::SlowDisk(host, rng.range(2, 10) as u32),
        31 => switchover(world, rng).unwrap_or(Fault::StoreUp),
        32 => Fault::Ask(host, Request::Restart(Restart::default())),
        _ => match rng.range(0, 5) {
            0 => Fault::Ask(host, Request::Reinitialize { force: rng.one_in(2), from_leader: false }),
            1 => Fault::Ask(host, Request::Shutdown),
            2 => Fault::Patch(json!({"pause": true})),
            3 => Fault::Patch(json!({"ttl": rng.range(2, 20)})),
            _ => Fault::StepWallClock(host, rng.range(0, 7_200_000_000) as i64 - 3_600_000_000),
        },
    }
}

fn any_host(world: &World, rng: &mut Rng) -> HostId {
    rng.range(0, world.hosts.len() as u64) as usize
}

/// Asks the leader to hand over, to anybody or to somebody.
fn switchover(world: &World, rng: &mut Rng) -> Option<Fault> {
    let leader = world.store.leader()?.to_owned();
    let host = world.host_named(&leader)?;
    let candidate = rng.one_in(2).then(|| world.hosts[any_host(world, rng)].name.0.clone());
    let request = Request::Switchover { manual_failover: false, leader: Some(leader), candidate, scheduled_at: None };
    Some(Fault::Ask(host, request))
}

/// What ends a fault that does not end by itself.
fn undo_of(fault: &Fault) -> Option<Fault> {
    match fault {
        Fault::CrashHost(host) => Some(Fault::BootHost(*host)),
        Fault::Isolate(_)
        | Fault::CutStore(_)
        | Fault::CutPeers(..)
        | Fault::CutOneWay(..)
        | Fault::LoseMessages { .. } => Some(Fault::HealNetwork),
        Fault::HangServer(host) | Fault::StopPostmaster(host) => Some(Fault::ContinueServer(*host)),
        Fault::StickBackend(host, _) => Some(Fault::FreeBackend(*host)),
        Fault::FreezeAgent(host) | Fault::StallCore(host) => Some(Fault::ThawAgent(*host)),
        Fault::StoreDown | Fault::StoreSlow(_) | Fault::StoreFails(_) | Fault::StoreAppliesAndFails(_) => {
            Some(Fault::StoreUp)
        }
        Fault::DelayWatch(host, _) => Some(Fault::DelayWatch(*host, Duration::ZERO)),
        Fault::DelayReplication(_) => Some(Fault::DelayReplication(Duration::ZERO)),
        Fault::SlowDisk(host, _) => Some(Fault::SlowDisk(*host, 1)),
        Fault::FillDisk(host) => Some(Fault::FreeDisk(*host)),
        Fault::Patch(changes) if changes.get("pause").is_some() => Some(Fault::Patch(json!({"pause": Value::Null}))),
        Fault::BootHost(_)
        | Fault::BootHostWithPostgres(_)
        | Fault::HealNetwork
        | Fault::KillPostmaster(_)
        | Fault::ContinueServer(_)
        | Fault::FreeBackend(_)
        | Fault::KillAgent(_)
        | Fault::ThawAgent(_)
        | Fault::KillTree(_)
        | Fault::KillGuard(_)
        | Fault::StartAgent(_)
        | Fault::StoreUp
        | Fault::StoreChangesLeader
        | Fault::FreeDisk(_)
        | Fault::KillBackend(_)
        | Fault::FailClones(..)
        | Fault::FailStarts(..)
        | Fault::StepWallClock(..)
        | Fault::DeleteKey(_)
        | Fault::WipeStore
        | Fault::LoseDisk(_)
        | Fault::Ask(..)
        | Fault::Patch(_) => None,
    }
}

/// Everything that was broken is made whole; what the herd has to do itself is left to it.
fn repair(world: &mut World) {
    world.inflict(Fault::HealNetwork);
    if world.store.health != Health::Well {
        world.inflict(Fault::StoreUp);
    }
    world.inflict(Fault::DelayReplication(Duration::ZERO));
    world.inflict(Fault::Patch(json!({"pause": Value::Null})));
    for host in 0..world.hosts.len() {
        world.inflict(Fault::BootHost(host));
        world.inflict(Fault::ContinueServer(host));
        world.inflict(Fault::FreeBackend(host));
        world.inflict(Fault::SlowDisk(host, 1));
        world.inflict(Fault::FreeDisk(host));
        world.inflict(Fault::DelayWatch(host, Duration::ZERO));
        world.inflict(Fault::FailClones(host, 0));
        if world.hosts[host].agent.as_ref().is_some_and(|a| a.stall != Stall::No) {
            world.inflict(Fault::ThawAgent(host));
        }
        world.inflict(Fault::StartAgent(host));
    }
}
