//! The kinds of faults that seeds know, and what becomes of one at the moment when it strikes.

use std::time::Duration;

use jogi_core::ha::{Request, Restart};
use jogi_core::view::Key;
use serde_json::{Value, json};

use super::plan::{Planned, permanent_slots};
use crate::fault::Fault;
use crate::invariants::liveness::is_healthy;
use crate::net::{HostId, Node};
use crate::postgres::{Hang, StuckBackend};
use crate::store::Health;
use crate::world::World;

/// What a fault belongs to: a profile prefers one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Network,
    Store,
    Process,
    Disk,
    Clock,
    Operator,
}

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Isolate,
    CutStore,
    CutPeers,
    CutToStore,
    CutFromStore,
    CutOneWay,
    LoseMessages,
    SlowMessages,
    StoreDown,
    StoreSlow,
    StoreFails,
    StoreAppliesAndFails,
    StoreChangesLeader,
    DelayWatch,
    DeleteLeaderKey,
    CrashHost,
    KillAgent,
    FreezeAgent,
    StallCore,
    KillTree,
    KillGuard,
    KillPostmaster,
    KillBackend,
    StopPostmaster,
    HangServer,
    StopBackend,
    BlockBackend,
    StrayPrimary,
    LoseDones,
    SlowDisk,
    FullDisk,
    FailClones,
    DelayReplication,
    LoseDisk,
    StepWallClock,
    ChangeDrift,
    Switchover,
    Failover,
    Restart,
    Reinit,
    Shutdown,
    Pause,
    ChangeTtl,
    ChangeSync,
    ChangeSlots,
    AddMember,
    RemoveMember,
    LoseIdentity,
    StoreLags,
}

impl Kind {
    pub const ALL: [Kind; 47] = [
        Kind::Isolate,
        Kind::CutStore,
        Kind::CutPeers,
        Kind::CutToStore,
        Kind::CutFromStore,
        Kind::CutOneWay,
        Kind::LoseMessages,
        Kind::SlowMessages,
        Kind::StoreDown,
        Kind::StoreSlow,
        Kind::StoreFails,
        Kind::StoreAppliesAndFails,
        Kind::StoreChangesLeader,
        Kind::DelayWatch,
        Kind::DeleteLeaderKey,
        Kind::CrashHost,
        Kind::KillAgent,
        Kind::FreezeAgent,
        Kind::StallCore,
        Kind::KillTree,
        Kind::KillGuard,
        Kind::KillPostmaster,
        Kind::KillBackend,
        Kind::StopPostmaster,
        Kind::HangServer,
        Kind::StopBackend,
        Kind::BlockBackend,
        Kind::StrayPrimary,
        Kind::LoseDones,
        Kind::SlowDisk,
        Kind::FullDisk,
        Kind::FailClones,
        Kind::DelayReplication,
        Kind::LoseDisk,
        Kind::StepWallClock,
        Kind::ChangeDrift,
        Kind::Switchover,
        Kind::Failover,
        Kind::Restart,
        Kind::Reinit,
        Kind::Shutdown,
        Kind::Pause,
        Kind::ChangeTtl,
        Kind::ChangeSync,
        Kind::ChangeSlots,
        Kind::AddMember,
        Kind::RemoveMember,
    ];

    /// Those that only profiles of one hazard know.
    pub const RARE: [Kind; 2] = [Kind::LoseIdentity, Kind::StoreLags];

    pub fn group(self) -> Group {
        match self {
            Kind::Isolate
            | Kind::CutStore
            | Kind::CutPeers
            | Kind::CutToStore
            | Kind::CutFromStore
            | Kind::CutOneWay
            | Kind::LoseMessages
            | Kind::SlowMessages => Group::Network,
            Kind::StoreDown
            | Kind::StoreSlow
            | Kind::StoreFails
            | Kind::StoreAppliesAndFails
            | Kind::StoreChangesLeader
            | Kind::DelayWatch
            | Kind::DeleteLeaderKey
            | Kind::LoseIdentity
            | Kind::StoreLags => Group::Store,
            Kind::CrashHost
            | Kind::KillAgent
            | Kind::FreezeAgent
            | Kind::StallCore
            | Kind::KillTree
            | Kind::KillGuard
            | Kind::KillPostmaster
            | Kind::KillBackend
            | Kind::StopPostmaster
            | Kind::HangServer
            | Kind::StopBackend
            | Kind::BlockBackend
            | Kind::StrayPrimary
            | Kind::LoseDones => Group::Process,
            Kind::SlowDisk | Kind::FullDisk | Kind::FailClones | Kind::DelayReplication | Kind::LoseDisk => Group::Disk,
            Kind::StepWallClock | Kind::ChangeDrift => Group::Clock,
            Kind::Switchover
            | Kind::Failover
            | Kind::Restart
            | Kind::Reinit
            | Kind::Shutdown
            | Kind::Pause
            | Kind::ChangeTtl
            | Kind::ChangeSync
            | Kind::ChangeSlots
            | Kind::AddMember
            | Kind::RemoveMember => Group::Operator,
        }
    }

    /// After this alone, with standbys streaming, no acknowledged row may be missing.
    pub fn is_harmless(self) -> bool {
        match self {
            Kind::KillAgent
            | Kind::FreezeAgent
            | Kind::StallCore
            | Kind::StoreDown
            | Kind::StoreFails
            | Kind::StoreAppliesAndFails
            | Kind::StoreSlow
            | Kind::StoreChangesLeader
            | Kind::Switchover
            | Kind::Restart
            | Kind::Shutdown
            | Kind::ChangeSlots
            | Kind::CutStore => true,
            Kind::Isolate
            | Kind::CutPeers
            | Kind::CutToStore
            | Kind::CutFromStore
            | Kind::CutOneWay
            | Kind::LoseMessages
            | Kind::SlowMessages
            | Kind::DelayWatch
            | Kind::DeleteLeaderKey
            | Kind::CrashHost
            | Kind::KillTree
            | Kind::KillGuard
            | Kind::KillPostmaster
            | Kind::KillBackend
            | Kind::StopPostmaster
            | Kind::HangServer
            | Kind::StopBackend
            | Kind::BlockBackend
            | Kind::StrayPrimary
            | Kind::LoseDones
            | Kind::SlowDisk
            | Kind::FullDisk
            | Kind::FailClones
            | Kind::DelayReplication
            | Kind::LoseDisk
            | Kind::StepWallClock
            | Kind::ChangeDrift
            | Kind::Failover
            | Kind::Reinit
            | Kind::Pause
            | Kind::ChangeTtl
            | Kind::ChangeSync
            | Kind::AddMember
            | Kind::RemoveMember
            | Kind::LoseIdentity
            | Kind::StoreLags => false,
        }
    }

    /// The fault as it strikes now. `None`: at this moment it is nothing, or nothing that anybody promises to survive.
    pub fn strike(self, world: &World, planned: &Planned) -> Option<Fault> {
        let (host, other) = (planned.host(world), planned.other(world));
        let size = planned.size;
        let millis = |low: u64, high: u64| Duration::from_millis(low + size % (high - low));
        let hangs = world.hosts[host].pg.hang() != Hang::No;
        Some(match self {
            Kind::Isolate => Fault::Isolate(host),
            Kind::CutStore => Fault::CutStore(host),
            Kind::CutPeers => Fault::CutPeers(host, other),
            Kind::CutToStore => Fault::CutOneWay(Node::Host(host), Node::Store),
            Kind::CutFromStore => Fault::CutOneWay(Node::Store, Node::Host(host)),
            Kind::CutOneWay => Fault::CutOneWay(Node::Host(host), Node::Host(other)),
            Kind::LoseMessages => Fault::LoseMessages { one_in: 3 + size % 27 },
            Kind::SlowMessages => Fault::SlowMessages { up_to_ms: 20 + size % 600 },
            Kind::StoreDown => Fault::StoreDown,
            Kind::StoreSlow if planned.gentle => Fault::StoreSlow(millis(10, 600)),
            Kind::StoreSlow => Fault::StoreSlow(millis(10, 1500)),
            Kind::StoreFails => Fault::StoreFails("etcdserver: something new".to_owned()),
            Kind::StoreAppliesAndFails => Fault::StoreAppliesAndFails("etcdserver: request timed out".to_owned()),
            Kind::StoreChangesLeader => Fault::StoreChangesLeader,
            Kind::DelayWatch => Fault::DelayWatch(host, millis(100, 10_000)),
            Kind::DeleteLeaderKey if world.store.health != Health::Well => return None,
            Kind::DeleteLeaderKey => Fault::DeleteKey(Key::Leader),
            Kind::CrashHost => Fault::CrashHost(host),
            Kind::KillAgent => Fault::KillAgent(host),
            Kind::FreezeAgent => Fault::FreezeAgent(host),
            Kind::StallCore => Fault::StallCore(host),
            // A stopped server whose guard is killed is the one gap there is: the signal waits for the server to go on.
            Kind::KillTree | Kind::KillGuard if hangs => return None,
            Kind::KillTree => Fault::KillTree(host),
            Kind::KillGuard => Fault::KillGuard(host),
            Kind::KillPostmaster => Fault::KillPostmaster(host),
            Kind::KillBackend => Fault::KillBackend(host),
            Kind::StopPostmaster => Fault::StopPostmaster(host),
            Kind::HangServer => Fault::HangServer(host),
            Kind::StopBackend => Fault::StickBackend(host, StuckBackend::Stopped),
            Kind::BlockBackend => Fault::StickBackend(host, StuckBackend::Uninterruptible),
            Kind::StrayPrimary if world.hosts[host].powered => Fault::CrashHost(host),
            Kind::StrayPrimary => return None,
            Kind::LoseDones => Fault::TroubleDones { one_in: 2 + size % 12 },
            Kind::SlowDisk => Fault::SlowDisk(host, 2 + (size % 8) as u32),
            Kind::FullDisk => Fault::FillDisk(host),
            Kind::FailClones => Fault::FailClones(host, 1),
            Kind::DelayReplication => Fault::DelayReplication(millis(10, 2000)),
            Kind::LoseDisk => lose_disk(world, host)?,
            Kind::StepWallClock => Fault::StepWallClock(host, (size % 7_200_000_000) as i64 - 3_600_000_000),
            Kind::ChangeDrift => Fault::Drift(host, (size % 20_001) as i64 - 10_000),
            Kind::Switchover => switchover(world, size.is_multiple_of(2).then_some(other))?,
            Kind::Failover => failover(world, other)?,
            Kind::Restart => Fault::Ask(host, Request::Restart(Restart::default())),
            Kind::Reinit => {
                Fault::Ask(host, Request::Reinitialize { force: size.is_multiple_of(2), from_leader: size % 4 < 2 })
            }
            Kind::Shutdown => Fault::Ask(host, Request::Shutdown),
            Kind::Pause => Fault::Patch(json!({"pause": true})),
            Kind::ChangeTtl => Fault::Patch(json!({"ttl": 2 + size % 18})),
            Kind::ChangeSync => Fault::Patch(sync_settings(size)),
            Kind::ChangeSlots => Fault::Patch(json!({"slots": slots(size)})),
            Kind::AddMember => Fault::AddMember((0..world.hosts.len()).find(|h| world.hosts[*h].absent)?),
            Kind::RemoveMember => remove_member(world, host)?,
            Kind::LoseIdentity => Fault::LoseIdentity,
            Kind::StoreLags => Fault::StoreSlow(millis(250, 480)),
        })
    }
}

/// What ends a fault that does not end by itself.
pub fn undo_of(kind: Kind, fault: &Fault) -> Option<Fault> {
    match fault {
        Fault::CrashHost(host) if kind == Kind::StrayPrimary => Some(Fault::BootHostWithPostgres(*host)),
        Fault::CrashHost(host) | Fault::LoseHost(host) => Some(Fault::BootHost(*host)),
        Fault::RemoveMember(host) => Some(Fault::CrashHost(*host)),
        Fault::Isolate(_)
        | Fault::CutStore(_)
        | Fault::CutPeers(..)
        | Fault::CutOneWay(..)
        | Fault::LoseMessages { .. }
        | Fault::SlowMessages { .. } => Some(Fault::HealNetwork),
        Fault::HangServer(host) | Fault::StopPostmaster(host) => Some(Fault::ContinueServer(*host)),
        Fault::StickBackend(host, _) => Some(Fault::FreeBackend(*host)),
        Fault::FreezeAgent(host) | Fault::StallCore(host) => Some(Fault::ThawAgent(*host)),
        Fault::StoreDown | Fault::StoreSlow(_) | Fault::StoreFails(_) | Fault::StoreAppliesAndFails(_) => {
            Some(Fault::StoreUp)
        }
        Fault::DelayWatch(host, _) => Some(Fault::DelayWatch(*host, Duration::ZERO)),
        Fault::DelayReplication(_) => Some(Fault::DelayReplication(Duration::ZERO)),
        Fault::TroubleDones { .. } => Some(Fault::TroubleDones { one_in: 0 }),
        Fault::SlowDisk(host, _) => Some(Fault::SlowDisk(*host, 1)),
        Fault::FillDisk(host) => Some(Fault::FreeDisk(*host)),
        Fault::Patch(changes) if changes.get("pause").is_some() => Some(Fault::Patch(json!({"pause": Value::Null}))),
        Fault::BootHost(_)
        | Fault::BootHostWithPostgres(_)
        | Fault::HealNetwork
        | Fault::KillPostmaster(_)
        | Fault::KillBackend(_)
        | Fault::ContinueServer(_)
        | Fault::FreeBackend(_)
        | Fault::KillAgent(_)
        | Fault::ThawAgent(_)
        | Fault::KillTree(_)
        | Fault::KillGuard(_)
        | Fault::StartAgent(_)
        | Fault::StoreUp
        | Fault::StoreChangesLeader
        | Fault::FailClones(..)
        | Fault::FailStarts(..)
        | Fault::FreeDisk(_)
        | Fault::StepWallClock(..)
        | Fault::Drift(..)
        | Fault::DeleteKey(_)
        | Fault::WipeStore
        | Fault::LoseDisk(_)
        | Fault::LoseIdentity
        | Fault::AddMember(_)
        | Fault::Nothing
        | Fault::Ask(..)
        | Fault::Patch(_) => None,
    }
}

/// Asks the leader to hand over, to anybody or to somebody.
fn switchover(world: &World, to: Option<HostId>) -> Option<Fault> {
    let leader = world.store.leader()?.to_owned();
    let host = world.host_named(&leader)?;
    let candidate = to.map(|host| world.hosts[host].name.to_string());
    let request = Request::Switchover { manual_failover: false, leader: Some(leader), candidate, scheduled_at: None };
    Some(Fault::Ask(host, request))
}

fn failover(world: &World, to: HostId) -> Option<Fault> {
    let candidate = Some(world.hosts[to].name.to_string());
    let request = Request::Switchover { manual_failover: true, leader: None, candidate, scheduled_at: None };
    Some(Fault::Ask(world.store.leader().and_then(|name| world.host_named(name)).unwrap_or(to), request))
}

/// A disk may be lost, and a member taken away for good, while the others have everything.
fn is_spare(world: &World, host: HostId) -> bool {
    let present = world.hosts.iter().filter(|h| h.powered && !h.absent && !h.remote).count();
    present > 1 && is_healthy(world) && world.store.leader() != Some(world.hosts[host].name.as_str())
}

fn lose_disk(world: &World, host: HostId) -> Option<Fault> {
    (is_spare(world, host) && !world.hosts[host].absent).then_some(Fault::LoseHost(host))
}

fn remove_member(world: &World, host: HostId) -> Option<Fault> {
    let present = world.hosts.iter().filter(|h| h.powered && !h.absent && !h.remote).count();
    (present > 2 && is_spare(world, host) && !world.hosts[host].absent).then_some(Fault::RemoveMember(host))
}

fn sync_settings(size: u64) -> Value {
    let mode = match size % 3 {
        0 => json!("quorum"),
        1 => json!(true),
        _ => Value::Null,
    };
    json!({
        "synchronous_mode": mode,
        "synchronous_node_count": 1 + size / 3 % 2,
        "synchronous_mode_strict": (size / 6).is_multiple_of(4),
        "maximum_lag_on_syncnode": if (size / 24).is_multiple_of(2) { json!(-1) } else { json!(1_048_576) },
    })
}

/// None any more; the physical one, beside what there is; or both.
fn slots(size: u64) -> Value {
    match size % 3 {
        0 => Value::Null,
        1 => permanent_slots(false),
        _ => permanent_slots(true),
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut first = true;
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !first {
                f.write_str("-")?;
            }
            first = false;
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once() {
        let mut all = Kind::ALL.to_vec();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), Kind::ALL.len());
        assert_eq!(Kind::StoreAppliesAndFails.to_string(), "store-applies-and-fails");
    }
}
