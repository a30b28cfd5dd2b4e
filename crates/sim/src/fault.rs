//! What can be done to a herd: failures of every part, and what an operator does in the middle of them.

use std::time::Duration;

use jogi_core::ha::Request;
use jogi_core::view::Key;
use serde_json::Value;

use crate::agent::Stall;
use crate::net::{HostId, Node};
use crate::postgres::{Hang, StuckBackend};
use crate::store::Health;
use crate::trace::Topic;
use crate::world::{Happening, World};

/// One fault or act of an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The host loses power.
    CrashHost(HostId),
    /// It comes back, its agent started by the service manager.
    BootHost(HostId),
    /// It comes back and something else starts PostgreSQL before the agent.
    BootHostWithPostgres(HostId),
    /// No traffic with the store or other members; clients still reach it.
    Isolate(HostId),
    CutStore(HostId),
    CutPeers(HostId, HostId),
    /// Messages of the first no longer reach the second.
    CutOneWay(Node, Node),
    HealNetwork,
    LoseMessages {
        one_in: u64,
    },
    KillPostmaster(HostId),
    /// SIGSTOP to the postmaster alone.
    StopPostmaster(HostId),
    /// SIGSTOP to every process of the server.
    HangServer(HostId),
    ContinueServer(HostId),
    StickBackend(HostId, StuckBackend),
    FreeBackend(HostId),
    KillAgent(HostId),
    FreezeAgent(HostId),
    StallCore(HostId),
    ThawAgent(HostId),
    /// Agent and guard at the same instant.
    KillTree(HostId),
    KillGuard(HostId),
    StartAgent(HostId),
    StoreDown,
    StoreUp,
    StoreSlow(Duration),
    StoreFails(String),
    StoreAppliesAndFails(String),
    StoreChangesLeader,
    /// The store's server that this member watches is so far behind: its watch brings everything late, and shows what was
    /// then when it begins anew. Linearizable readings are not affected: for them the server asks its leader.
    DelayWatch(HostId, Duration),
    DelayReplication(Duration),
    FailClones(HostId, u32),
    FailStarts(HostId, Option<String>),
    SlowDisk(HostId, u32),
    FillDisk(HostId),
    FreeDisk(HostId),
    /// SIGKILL to one backend: the postmaster ends all others and goes through recovery.
    KillBackend(HostId),
    StepWallClock(HostId, i64),
    /// An operator deletes one key.
    DeleteKey(Key),
    /// The keys that say which cluster this is and who leads it are gone.
    LoseIdentity,
    /// Every key is gone, as after a restore of an empty store.
    WipeStore,
    /// The host, which is down, comes back with an empty disk.
    LoseDisk(HostId),
    Ask(HostId, Request),
    /// Merged into the store's `config`, as the control tool does.
    Patch(Value),
    /// Every message takes up to so long: a later one may overtake an earlier one.
    SlowMessages {
        up_to_ms: u64,
    },
    /// One outcome of an effect in so many is lost, late, or overtaken by another.
    TroubleDones {
        one_in: u64,
    },
    /// The host's clock runs so many millionths fast from now on.
    Drift(HostId, i64),
    /// The host loses power, and its disk with it.
    LoseHost(HostId),
    /// A host with an empty disk joins the herd.
    AddMember(HostId),
    /// An operator takes a member out of the herd for good.
    RemoveMember(HostId),
    Nothing,
}

impl World {
    pub fn inflict(&mut self, fault: Fault) {
        if fault == Fault::Nothing {
            return;
        }
        self.counts.faults += 1;
        let text = self.describe(&fault);
        self.announce(Topic::Fault, || text);
        match fault {
            Fault::CrashHost(host) => self.crash(host),
            Fault::BootHost(host) => self.boot_host(host),
            Fault::BootHostWithPostgres(host) => self.boot_with_postgres(host),
            Fault::Isolate(host) => {
                self.net.cut(Node::Host(host), Node::Store);
                for other in 0..self.hosts.len() {
                    self.net.cut(Node::Host(host), Node::Host(other));
                }
            }
            Fault::CutStore(host) => self.net.cut(Node::Host(host), Node::Store),
            Fault::CutPeers(a, b) => self.net.cut(Node::Host(a), Node::Host(b)),
            Fault::CutOneWay(from, to) => self.net.cut_one_way(from, to),
            Fault::HealNetwork => self.net.heal_all(),
            Fault::LoseMessages { one_in } => self.net.loss_one_in = one_in,
            Fault::KillPostmaster(host) => {
                let World { hosts, rng, .. } = self;
                let news = hosts[host].pg.kill_postmaster(rng);
                self.postgres_news(host, news);
            }
            Fault::StopPostmaster(host) => self.hosts[host].pg.hang_now(Hang::Postmaster),
            Fault::HangServer(host) => self.hosts[host].pg.hang_now(Hang::Everything),
            Fault::ContinueServer(host) => {
                let World { hosts, rng, .. } = self;
                let news = hosts[host].pg.go_on(rng);
                self.postgres_news(host, news);
            }
            Fault::StickBackend(host, stuck) => {
                if self.hosts[host].pg.running.is_some() {
                    self.hosts[host].pg.stuck_backend = Some(stuck);
                }
            }
            Fault::FreeBackend(host) => self.hosts[host].pg.stuck_backend = None,
            Fault::KillAgent(host) => self.end_agent(host),
            Fault::FreezeAgent(host) => self.stall_agent(host, Stall::Everything),
            Fault::StallCore(host) => self.stall_agent(host, Stall::Core),
            Fault::ThawAgent(host) => self.stall_agent(host, Stall::No),
            Fault::KillTree(host) => {
                self.kill_guard(host);
                self.end_agent(host);
            }
            Fault::KillGuard(host) => self.kill_guard(host),
            Fault::StartAgent(host) => self.start_agent(host),
            Fault::StoreDown => self.store.health = Health::Down,
            Fault::StoreUp => {
                self.store.health = Health::Well;
                self.net.store_delay = Duration::ZERO;
            }
            Fault::StoreSlow(delay) => self.net.store_delay = delay,
            Fault::StoreFails(error) => self.store.health = Health::Failing(error),
            Fault::StoreAppliesAndFails(error) => self.store.health = Health::AppliesAndFails(error),
            Fault::StoreChangesLeader => {
                let now = self.now;
                self.store.change_leader(now);
            }
            Fault::DelayWatch(host, delay) => self.hosts[host].store_lag = delay,
            Fault::DelayReplication(delay) => self.replication_delay = delay,
            Fault::FailClones(host, times) => self.hosts[host].failing_clones = times,
            Fault::FailStarts(host, why) => self.hosts[host].pg.fail_starts = why,
            Fault::SlowDisk(host, factor) => self.hosts[host].pg.slow_disk = factor,
            Fault::FillDisk(host) => self.hosts[host].pg.disk_full = true,
            Fault::FreeDisk(host) => {
                self.hosts[host].pg.disk_full = false;
                self.look_at_streams(host);
            }
            Fault::KillBackend(host) => {
                if self.hosts[host].pg.answers() {
                    let news = self.hosts[host].pg.crash_inside();
                    self.postgres_news(host, news);
                }
            }
            Fault::StepWallClock(host, micros) => self.hosts[host].clock.wall_error += micros,
            Fault::DeleteKey(key) => {
                // Who held the deleted lock learns of it with the next beat, or closes when its lease ends: 30 s at most.
                let grace = if key == Key::Leader { 32 } else { 60 };
                self.store.force(&key, None);
                self.checks.be_lenient(self.now + Duration::from_secs(grace));
            }
            Fault::LoseIdentity => {
                self.store.force(&Key::Initialize, None);
                self.store.force(&Key::Leader, None);
                self.checks.be_lenient(self.now + Duration::from_secs(60));
            }
            Fault::WipeStore => {
                self.store.wipe();
                self.checks.be_lenient(self.now + Duration::from_secs(60));
            }
            Fault::LoseDisk(host) => self.lose_disk(host),
            Fault::Ask(host, request) => {
                self.ask_agent(host, request);
            }
            Fault::Patch(changes) => self.patch_config(&changes),
            Fault::SlowMessages { up_to_ms } => self.net.delay_ms = (0, up_to_ms),
            Fault::TroubleDones { one_in } => {
                self.trouble_one_in = one_in;
                (0..self.hosts.len()).for_each(|host| self.release_held(host));
            }
            Fault::Drift(host, ppm) => {
                let now = self.now;
                self.hosts[host].clock.change_drift(now, ppm);
                self.rearm(host);
            }
            Fault::LoseHost(host) => {
                self.crash(host);
                self.lose_disk(host);
            }
            Fault::AddMember(host) => {
                self.hosts[host].absent = false;
                self.hosts[host].restarts_after = Some(Duration::from_secs(1));
                self.start_agent(host);
            }
            Fault::RemoveMember(host) => {
                self.hosts[host].absent = true;
                self.hosts[host].restarts_after = None;
                self.ask_agent(host, Request::Shutdown);
            }
            Fault::Nothing => {}
        }
    }

    fn describe(&self, fault: &Fault) -> String {
        let mut text = format!("{fault:?}");
        for (host, machine) in self.hosts.iter().enumerate() {
            text = text.replace(&format!("({host})"), &format!("({})", machine.name));
            text = text.replace(&format!("({host}, "), &format!("({}, ", machine.name));
        }
        format!("*** {text}")
    }

    fn crash(&mut self, host: HostId) {
        let machine = &mut self.hosts[host];
        machine.powered = false;
        machine.pg.power_off();
        machine.agent = None;
        machine.incarnation += 1;
        machine.guard = crate::guard::Guard::default();
        machine.stray = false;
        self.look_at_streams(host);
    }

    fn lose_disk(&mut self, host: HostId) {
        let machine = &mut self.hosts[host];
        machine.pg.dir = crate::postgres::data::Dir::Empty;
        machine.pg.disk_full = false;
        machine.intent = None;
        machine.dynamic = None;
    }

    fn boot_host(&mut self, host: HostId) {
        if self.hosts[host].powered || self.hosts[host].absent {
            return;
        }
        let now = self.now;
        self.hosts[host].powered = true;
        self.hosts[host].clock.reboot(now);
        let wait = self.rng.millis(500, 2000);
        self.schedule(wait, Happening::AgentStarts { host });
    }

    fn boot_with_postgres(&mut self, host: HostId) {
        if self.hosts[host].powered {
            return;
        }
        self.boot_host(host);
        let started = self.clock_now(host).wall;
        let World { hosts, wal, rng, .. } = self;
        if hosts[host].pg.start(wal, started, rng).is_ok() {
            hosts[host].stray = true;
        }
        self.settle_postgres(host);
    }

    /// What the control tool does to the configuration: null removes, objects merge.
    pub fn patch_config(&mut self, changes: &Value) {
        let before = self.store.value(&Key::Config).and_then(|text| serde_json::from_str(text).ok());
        let mut config: Value = before.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        merge(&mut config, changes);
        self.store.force(&Key::Config, Some(config.to_string()));
    }
}

fn merge(into: &mut Value, changes: &Value) {
    let (Value::Object(into), Value::Object(changes)) = (into, changes) else { return };
    for (key, value) in changes {
        match value {
            Value::Null => {
                into.remove(key);
            }
            Value::Object(_) if into.get(key).is_some_and(Value::is_object) => {
                if let Some(inner) = into.get_mut(key) {
                    merge(inner, value);
                }
            }
            other => {
                into.insert(key.clone(), other.clone());
            }
        }
    }
}
