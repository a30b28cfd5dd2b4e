//! Carrying a script out.

use std::time::Duration;

use jogi_core::ha::{Reply, Request, Restart};
use jogi_core::view::{Key, SyncState};
use serde_json::{Value, json};

use super::Scenario;
use super::parse::{Command, Condition, time};
use crate::fault::Fault;
use crate::invariants::{liveness, lost_rows};
use crate::net::{HostId, Node};
use crate::postgres::{Phase, StuckBackend};
use crate::trace::{Level, Line};
use crate::weakness::Weaknesses;
use crate::world::{Herd, World};

/// How a scenario ended.
pub struct Ended {
    pub world: World,
    /// What went wrong first.
    pub failure: Option<String>,
    pub transcript: Vec<String>,
}

/// What counters showed at the last mark.
#[derive(Default)]
struct Mark {
    store_writes: u64,
    store_requests: u64,
    servers: Vec<u64>,
    replies: usize,
}

/// `lack-wal`: so many bytes must come from elsewhere before the data directory is consistent.
const LACKED: u64 = 60_000;

struct Runner {
    world: World,
    mark: Mark,
    marked: bool,
    /// Lines of the trace before the first mark: how the herd came to be is told in one scenario only.
    prologue: usize,
}

/// Runs a scenario from its first line to its last or to the first failure.
pub fn run(scenario: &Scenario, level: Level) -> Ended {
    run_weakened(scenario, level, Weaknesses::default())
}

/// As [`run`], in a world that lacks a protection: what is not fulfilled does not end it, only a failed check does.
pub fn run_weakened(scenario: &Scenario, level: Level, weakness: Weaknesses) -> Ended {
    let mut herd = Herd { members: Vec::new(), dynamic: json!({}), seed: 1 };
    for (_, command) in &scenario.commands {
        if let Command::Members(names) = command {
            herd.members = names.clone();
        }
        if let Command::Seed(seed) = command {
            herd.seed = *seed;
        }
        if let Command::Config(value) = command {
            herd.dynamic = value.clone();
        }
    }
    let mut world = World::new(herd);
    world.trace.level = level;
    world.weakness = weakness;
    let mut runner = Runner { world, mark: Mark::default(), marked: false, prologue: 0 };
    let mut failure = None;
    for (line, command) in &scenario.commands {
        if let Err(what) = runner.carry_out(command) {
            failure = failure.or(Some(format!("{}.txt, line {line}: {what}", scenario.name)));
            if weakness.is_empty() || runner.world.checks.failed() {
                break;
            }
        }
    }
    if let Some(violation) = runner.world.checks.violations.first() {
        failure = Some(failure.map_or(violation.to_string(), |f| format!("{violation}\n{f}")));
    }
    let told = runner.world.trace.lines.get(runner.prologue..).unwrap_or_default();
    let transcript = told.iter().filter(|line| line.topic.tells_the_story()).map(Line::untimed).collect();
    Ended { world: runner.world, failure, transcript }
}

impl Runner {
    fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Members(_) | Command::Seed(_) | Command::Config(_) | Command::ExpectedToFail(_) => {}
            Command::Tags(name, tags) => {
                let host = self.host(name)?;
                self.world.hosts[host].tags = tags.clone();
            }
            Command::Local(name, local) => {
                let host = self.host(name)?;
                self.world.configure_member(host, local.clone());
            }
            Command::Ask(name, kind, fields) => {
                let host = self.host(name)?;
                let wall = self.world.clock_now(host).wall;
                self.world.inflict(Fault::Ask(host, super::ask::request(kind, fields, wall)?));
            }
            Command::Drift(name, ppm) => {
                let host = self.host(name)?;
                self.world.hosts[host].clock.drift_ppm = *ppm;
            }
            Command::Client(every) => self.world.add_client(*every),
            Command::Supervise(after) => {
                for host in &mut self.world.hosts {
                    host.restarts_after = *after;
                }
            }
            Command::Start(None) => {
                let members = (0..self.world.hosts.len()).filter(|host| !self.world.hosts[*host].remote);
                members.collect::<Vec<_>>().into_iter().for_each(|host| self.world.start_agent(host));
            }
            Command::Start(Some(name)) => {
                let host = self.host(name)?;
                self.world.start_agent(host);
            }
            Command::Wait(time) => self.world.run_for(*time),
            Command::Until(condition, within) => self.until(condition, *within)?,
            Command::Never(condition, for_) => self.never(condition, *for_)?,
            Command::Expect(condition) => {
                if let Some(why) = self.why_not(condition) {
                    return Err(why);
                }
            }
            Command::Mark => self.set_mark(),
            Command::Act(word, args) => self.act(word, args)?,
        }
        if self.world.checks.failed() { Err("a check failed".to_owned()) } else { Ok(()) }
    }

    fn host(&self, name: &str) -> Result<HostId, String> {
        self.world.host_named(name).ok_or_else(|| format!("nobody is named '{name}'"))
    }

    fn until(&mut self, condition: &Condition, within: Duration) -> Result<(), String> {
        let until = self.world.now + within;
        let mark = &self.mark;
        if self.world.run_while(until, |world| why_not(world, mark, condition).is_some()) {
            return Ok(());
        }
        match self.why_not(condition) {
            None => Ok(()),
            Some(why) => Err(format!("not within {} ms: {why}", within.as_millis())),
        }
    }

    fn never(&mut self, condition: &Condition, for_: Duration) -> Result<(), String> {
        let until = self.world.now + for_;
        let mark = &self.mark;
        match self.world.run_while(until, |world| why_not(world, mark, condition).is_some()) {
            true => Err(format!("it came to hold at {}: {condition:?}", self.world.now)),
            false => Ok(()),
        }
    }

    fn why_not(&self, condition: &Condition) -> Option<String> {
        why_not(&self.world, &self.mark, condition)
    }

    fn set_mark(&mut self) {
        if !std::mem::replace(&mut self.marked, true) {
            self.prologue = self.world.trace.lines.len();
        }
        let world = &mut self.world;
        let now = world.now;
        for client in &mut world.clients {
            client.widest_gap = Duration::ZERO;
            client.last_ack = client.last_ack.map(|_| now);
        }
        self.mark = Mark {
            store_writes: world.store.writes,
            store_requests: world.store.requests,
            servers: world.hosts.iter().map(|h| h.pg.server).collect(),
            replies: world.replies.len(),
        };
    }

    fn act(&mut self, word: &str, args: &[String]) -> Result<(), String> {
        if let ("read-slot", [host, slot]) = (word, args) {
            let host = self.host(host)?;
            return self.world.read_slot(host, slot);
        }
        match (word, args) {
            ("remote", [host]) => return self.world.make_remote(self.host(host)?, None),
            ("remote", [host, of]) => {
                let of = self.host(of)?;
                return self.world.make_remote(self.host(host)?, Some(of));
            }
            ("promote-remote", [host]) => return self.world.promote_remote(self.host(host)?),
            ("checkpoint-remote", [host]) => return self.world.checkpoint_remote(self.host(host)?),
            (_, _) => {}
        }
        if let Some(name) = args.first().filter(|_| self.change_quirk(word, args)) {
            self.world.announce(crate::trace::Topic::Fault, || format!("{word} {name}"));
            return Ok(());
        }
        let fault = self.fault(word, args)?;
        self.world.inflict(fault);
        Ok(())
    }

    /// Oddities that are set on a member. `false`: the word is none.
    fn change_quirk(&mut self, word: &str, args: &[String]) -> bool {
        let Some(host) = args.first().and_then(|name| self.world.host_named(name)) else { return false };
        let quirks = &mut self.world.hosts[host].quirks;
        match word {
            "fail-watchdog" => quirks.watchdog_fails = true,
            "mend-watchdog" => quirks.watchdog_fails = false,
            "fail-scripts" => quirks.scripts_fail = true,
            "mend-scripts" => quirks.scripts_fail = false,
            "pend-restart" => quirks.pending_restart = true,
            "pause-replay" => quirks.replay_paused = true,
            "spoil-directory" => quirks.unreadable = Some("pg_control: input/output error".to_owned()),
            "mend-directory" => quirks.unreadable = None,
            "foreign-data" => {
                let Some(data) = self.world.hosts[host].pg.data_mut() else { return false };
                data.system += 1;
            }
            "lack-wal" => {
                let Some(data) = self.world.hosts[host].pg.data_mut() else { return false };
                data.min_recovery.0 += LACKED;
            }
            _ => return false,
        }
        true
    }

    fn fault(&self, word: &str, args: &[String]) -> Result<Fault, String> {
        let arg = |i: usize| args.get(i).map(String::as_str).ok_or(format!("{word} lacks an argument"));
        let host = |i: usize| self.host(arg(i)?);
        Ok(match word {
            "crash" => Fault::CrashHost(host(0)?),
            "boot" => Fault::BootHost(host(0)?),
            "boot-with-postgres" => Fault::BootHostWithPostgres(host(0)?),
            "isolate" => Fault::Isolate(host(0)?),
            "cut-store" => Fault::CutStore(host(0)?),
            "cut" => Fault::CutPeers(host(0)?, host(1)?),
            "cut-from-store" => Fault::CutOneWay(Node::Store, Node::Host(host(0)?)),
            "cut-to-store" => Fault::CutOneWay(Node::Host(host(0)?), Node::Store),
            "heal" => Fault::HealNetwork,
            "kill-postmaster" => Fault::KillPostmaster(host(0)?),
            "stop-postmaster" => Fault::StopPostmaster(host(0)?),
            "hang-server" => Fault::HangServer(host(0)?),
            "continue-server" => Fault::ContinueServer(host(0)?),
            "stop-backend" => Fault::StickBackend(host(0)?, StuckBackend::Stopped),
            "block-backend" => Fault::StickBackend(host(0)?, StuckBackend::Uninterruptible),
            "free-backend" => Fault::FreeBackend(host(0)?),
            "kill-agent" => Fault::KillAgent(host(0)?),
            "freeze-agent" => Fault::FreezeAgent(host(0)?),
            "stall-core" => Fault::StallCore(host(0)?),
            "thaw-agent" => Fault::ThawAgent(host(0)?),
            "kill-tree" => Fault::KillTree(host(0)?),
            "kill-guard" => Fault::KillGuard(host(0)?),
            "start-agent" => Fault::StartAgent(host(0)?),
            "store-down" => Fault::StoreDown,
            "store-up" => Fault::StoreUp,
            "store-slow" => Fault::StoreSlow(time(arg(0)?)?),
            "store-fails" => Fault::StoreFails(arg(0)?.to_owned()),
            "store-applies-and-fails" => Fault::StoreAppliesAndFails(arg(0)?.to_owned()),
            "store-changes-leader" => Fault::StoreChangesLeader,
            "delay-watch" => Fault::DelayWatch(host(0)?, time(arg(1)?)?),
            "delay-replication" => Fault::DelayReplication(time(arg(0)?)?),
            "fail-clones" => Fault::FailClones(host(0)?, arg(1)?.parse().map_err(|e| format!("{e}"))?),
            "fail-starts" => Fault::FailStarts(host(0)?, Some("could not create shared memory".to_owned())),
            "allow-starts" => Fault::FailStarts(host(0)?, None),
            "slow-disk" => Fault::SlowDisk(host(0)?, arg(1)?.parse().map_err(|e| format!("{e}"))?),
            "fill-disk" => Fault::FillDisk(host(0)?),
            "free-disk" => Fault::FreeDisk(host(0)?),
            "kill-backend" => Fault::KillBackend(host(0)?),
            "wipe-store" => Fault::WipeStore,
            "lose-disk" => Fault::LoseDisk(host(0)?),
            "delete-key" => {
                Fault::DeleteKey(Key::parse(arg(0)?).ok_or_else(|| format!("'{}' is no key", args.join(" ")))?)
            }
            "patch" => Fault::Patch(serde_json::from_str(arg(0)?).map_err(|e| format!("patch: {e}"))?),
            "pause" => Fault::Patch(json!({"pause": true})),
            "resume" => Fault::Patch(json!({"pause": Value::Null})),
            "switchover" => self.switchover(args, false)?,
            "failover" => self.switchover(args, true)?,
            "restart" => Fault::Ask(host(0)?, Request::Restart(Restart::default())),
            "reinit" => Fault::Ask(host(0)?, Request::Reinitialize { force: false, from_leader: false }),
            "reload" => Fault::Ask(host(0)?, Request::Reload),
            "term" => Fault::Ask(host(0)?, Request::Shutdown),
            other => return Err(format!("'{other}' is no command")),
        })
    }

    /// `switchover [CANDIDATE]` and `failover CANDIDATE`, asked of whoever leads (of the candidate when nobody does).
    fn switchover(&self, args: &[String], manual_failover: bool) -> Result<Fault, String> {
        let leader = self.world.store.leader().map(str::to_owned);
        let candidate = args.first().cloned();
        let asked = leader.clone().or_else(|| candidate.clone()).ok_or("nobody to ask")?;
        let leader = if manual_failover { None } else { leader };
        let request = Request::Switchover { manual_failover, leader, candidate, scheduled_at: None };
        Ok(Fault::Ask(self.host(&asked)?, request))
    }
}

/// `None`: the condition holds.
fn why_not(world: &World, mark: &Mark, condition: &Condition) -> Option<String> {
    let host = |name: &str| world.host_named(name);
    let unless = |holds: bool, why: String| if holds { None } else { Some(why) };
    match condition {
        Condition::Healthy => liveness::why_not(world),
        Condition::Primary { name, not } => {
            let primary = primary(world);
            let holds = match (primary, name) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(is), Some(wanted)) => (is == wanted) != *not,
            };
            unless(holds, format!("the primary is {}", primary.unwrap_or("nobody")))
        }
        Condition::NoWriter => {
            let writer = world.hosts.iter().find(|h| h.pg.can_commit());
            writer.map(|h| format!("{} can commit", h.name))
        }
        Condition::Gone(name) => {
            let pg = &world.hosts[host(name)?].pg;
            unless(pg.is_gone(), format!("{name}'s server is {:?} {:?}", pg.phase(), pg.orphans))
        }
        Condition::Running(name) => {
            let pg = &world.hosts[host(name)?].pg;
            unless(pg.accepts(), format!("{name}'s server is {:?}", pg.phase()))
        }
        Condition::Standby(name) => {
            let host = host(name)?;
            let phase = world.hosts[host].pg.phase();
            let streams = world.streams[host].is_some();
            unless(phase == Some(Phase::Standby) && streams, format!("{name} is {phase:?}, streams: {streams}"))
        }
        Condition::LeadsStandbys(name) => {
            let host = host(name)?;
            let from = world.streams[host].as_ref().map(|stream| world.hosts[stream.upstream].name.as_str());
            let outside = world.streams[host].as_ref().is_some_and(|stream| world.hosts[stream.upstream].remote);
            let leader = world.store.leader();
            unless(leader == Some(name.as_str()) && outside, format!("{leader:?} leads, {name} streams from {from:?}"))
        }
        Condition::AgentGone(name) => unless(world.hosts[host(name)?].agent.is_none(), "the agent runs".to_owned()),
        Condition::Says(name, text) => {
            let said = world.hosts[host(name)?].agent.as_ref().map(|a| a.ha.last_decision().to_string());
            let said = said.unwrap_or_default();
            unless(said.contains(text), format!("{name} says '{said}'"))
        }
        Condition::Noted(name, text) => {
            let host = host(name)?;
            let noted = world.noted.iter().any(|(who, note)| *who == host && note.contains(text));
            unless(noted, format!("{name} noted nothing with '{text}'"))
        }
        Condition::Lost(most) => match lost_rows::lost(world) {
            Some(lost) => unless(lost.rows <= *most, format!("{lost:?}")),
            None => Some("nobody leads".to_owned()),
        },
        Condition::Gap(most) => {
            let gaps = world.clients.iter().map(|c| {
                let open = c.last_ack.map(|at| world.now.since(at)).unwrap_or_default();
                c.widest_gap.max(open)
            });
            let widest = gaps.max().unwrap_or_default();
            unless(widest <= *most, format!("the widest gap is {} ms", widest.as_millis()))
        }
        Condition::StoreWrites(most) => {
            let writes = world.store.writes - mark.store_writes;
            unless(writes <= *most, format!("{writes} writes to the store"))
        }
        Condition::StoreRequests(most) => {
            let requests = world.store.requests - mark.store_requests;
            unless(requests <= *most, format!("{requests} requests to the store"))
        }
        Condition::SameServer(name) => {
            let host = host(name)?;
            let same = mark.servers.get(host) == Some(&world.hosts[host].pg.server);
            unless(same && world.hosts[host].pg.running.is_some(), format!("{name}'s server was started again"))
        }
        Condition::Count(what, wanted) => {
            let counts = &world.counts;
            let is = match what.as_str() {
                "rewinds" => counts.rewinds,
                "clones" => counts.clones,
                "bootstraps" => counts.bootstraps,
                "promotions" => counts.promotions,
                "starts" => counts.starts,
                other => return Some(format!("nothing counts '{other}'")),
            };
            unless(is == *wanted, format!("{is} {what}"))
        }
        Condition::Timeline(wanted) => {
            let tip = primary(world).and_then(host).and_then(|h| world.hosts[h].pg.data()).map(|d| d.tip);
            let is = tip.map_or(0, |tip| world.wal.timeline(tip).0);
            unless(is == *wanted, format!("the primary is on timeline {is}"))
        }
        Condition::Reply(status, text) => {
            let last: Option<&Reply> = world.replies.get(mark.replies..).and_then(|r| r.last()).map(|(_, r)| r);
            let holds = last.is_some_and(|r| r.status == *status && r.text.contains(text.as_str()));
            unless(holds, format!("the last answer is {last:?}"))
        }
        Condition::ClosedAtSoft(name, times) => {
            let is = world.hosts[host(name)?].guard.closed_at_soft;
            unless(is == *times, format!("{name}'s guard began {is} fast shutdowns"))
        }
        Condition::KilledAtHard(name, times) => {
            let is = world.hosts[host(name)?].guard.killed_at_hard;
            unless(is == *times, format!("{name}'s guard killed {is} times"))
        }
        Condition::Aside(name, wanted) => {
            let is = world.hosts[host(name)?].put_aside;
            unless(is == *wanted, format!("{name} put {is} data directories aside"))
        }
        Condition::Kept(name, wanted) => {
            let is = world.hosts[host(name)?].aside.len();
            unless(is == *wanted, format!("{name} keeps {is} data directories that were put aside"))
        }
        Condition::Data(name, wanted) => {
            let is = world.hosts[host(name)?].pg.data().is_some();
            unless(is == *wanted, format!("{name} has a whole data directory: {is}"))
        }
        Condition::Slot(name, slot, wanted) => {
            let data = world.hosts[host(name)?].pg.data();
            let has = data.is_some_and(|d| d.slots.keys().chain(d.logical.keys()).any(|s| s.as_str() == slot));
            unless(has == *wanted, format!("{name} has a slot {slot}: {has}"))
        }
        Condition::LeaderKey(wanted) => {
            let is = world.store.value(&Key::Leader);
            unless(is == wanted.as_deref(), format!("the leader key is {is:?}"))
        }
        Condition::Sync(wanted) => {
            let is = world.store.value(&Key::Sync).map_or("off".to_owned(), sync_words);
            unless(is == *wanted, format!("the sync key is {is}"))
        }
        Condition::Names(name, wanted) => {
            let is = &world.hosts[host(name)?].pg.sync.text;
            unless(is == wanted, format!("the names are '{is}'"))
        }
    }
}

/// Leader, quorum and standbys of the `sync` key, as scripts name them.
fn sync_words(text: &str) -> String {
    let sync = SyncState::parse(text, None);
    let names: Vec<&str> = sync.standbys.iter().map(jogi_core::MemberName::as_str).collect();
    let leader = sync.leader.map_or("nobody".to_owned(), |l| l.to_string());
    match (names.is_empty(), sync.quorum) {
        (true, _) => format!("{leader} none"),
        (false, 0) => format!("{leader} {}", names.join(",")),
        (false, quorum) => format!("{leader} {quorum}/{}", names.join(",")),
    }
}

/// Who is writable and holds the key.
fn primary(world: &World) -> Option<&str> {
    let name = world.store.leader()?;
    let pg = &world.hosts[world.host_named(name)?].pg;
    (pg.phase() == Some(Phase::Primary) && pg.accepts()).then_some(name)
}
