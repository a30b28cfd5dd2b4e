//! Profiles: what a seed does to its herd more often than anything else.
//!
//! Seeds choose among [`Profile::ALL`]. The others are each for one hazard that random faults meet too seldom: a few
//! kinds of faults and settings that bring the herd to where one protection is all that is left. They are asked for by
//! name, and by the table of mutations.

use std::time::Duration;

use serde_json::{Value, json};

use super::kind::{Group, Kind};
use super::plan::Await;
use crate::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// One fault at a time, of a kind that may lose nothing; the herd heals before the next one, and no acknowledged row
    /// may be missing.
    Calm,
    Network,
    Store,
    Process,
    Disk,
    Clock,
    Operator,
    /// Anything at any time.
    Everything,
    /// Copies and rewinds that end in the middle.
    Copies,
    /// An identity that is gone from the store, and members without data.
    Identity,
    /// Slow answers of the store, and servers that do not end when they are told.
    Answers,
    /// Agents that stand still while others lead.
    Stalls,
    /// Members that hear late of what the store says, while leaders die young.
    StaleViews,
    /// A primary that writes what nobody receives, and comes back.
    Branches,
    /// Hosts that come back with a server that somebody else has started.
    Strays,
    /// Hand-overs under load.
    HandOvers,
    /// Synchronous standbys that come and go, and primaries that die.
    Synchronous,
    /// The store is gone, and members with it.
    Failsafe,
}

impl Profile {
    /// Those that a seed chooses from.
    pub const ALL: [Profile; 8] = [
        Profile::Calm,
        Profile::Network,
        Profile::Store,
        Profile::Process,
        Profile::Disk,
        Profile::Clock,
        Profile::Operator,
        Profile::Everything,
    ];

    /// Those for one hazard each.
    pub const HAZARDS: [Profile; 10] = [
        Profile::Copies,
        Profile::Identity,
        Profile::Answers,
        Profile::Stalls,
        Profile::StaleViews,
        Profile::Branches,
        Profile::Strays,
        Profile::HandOvers,
        Profile::Synchronous,
        Profile::Failsafe,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Network => "network",
            Profile::Store => "store",
            Profile::Process => "process",
            Profile::Disk => "disk",
            Profile::Clock => "clock",
            Profile::Operator => "operator",
            Profile::Everything => "everything",
            Profile::Copies => "copies",
            Profile::Identity => "identity",
            Profile::Answers => "answers",
            Profile::Stalls => "stalls",
            Profile::StaleViews => "stale-views",
            Profile::Branches => "branches",
            Profile::Strays => "strays",
            Profile::HandOvers => "hand-overs",
            Profile::Synchronous => "synchronous",
            Profile::Failsafe => "failsafe",
        }
    }

    pub fn named(word: &str) -> Option<Profile> {
        Profile::ALL.into_iter().chain(Profile::HAZARDS).find(|profile| profile.word() == word)
    }

    pub fn is_hazard(self) -> bool {
        Profile::HAZARDS.contains(&self)
    }

    /// One fault at a time, the herd heals before the next one, and nothing may be lost.
    pub fn is_gentle(self) -> bool {
        matches!(self, Profile::Calm | Profile::HandOvers)
    }

    /// Hand-overs are tried with standbys that are always a little behind.
    pub fn replication_delay(self) -> Duration {
        if self == Profile::HandOvers { Duration::from_millis(150) } else { Duration::ZERO }
    }

    /// What a fault of this hazard waits for.
    pub fn awaits(self, kind: Kind) -> Option<Await> {
        let ends = matches!(kind, Kind::KillAgent | Kind::KillTree | Kind::CrashHost);
        match self {
            Profile::Copies if ends => Some(Await::Copy),
            Profile::Identity if kind == Kind::LoseIdentity => Some(Await::Empty),
            Profile::StaleViews if kind == Kind::CrashHost => Some(Await::Change),
            Profile::Calm
            | Profile::Network
            | Profile::Store
            | Profile::Process
            | Profile::Disk
            | Profile::Clock
            | Profile::Operator
            | Profile::Everything
            | Profile::Copies
            | Profile::Identity
            | Profile::Answers
            | Profile::Stalls
            | Profile::StaleViews
            | Profile::Branches
            | Profile::Strays
            | Profile::HandOvers
            | Profile::Synchronous
            | Profile::Failsafe => None,
        }
    }

    /// How often a kind is chosen, beside the others.
    pub fn weight(self, kind: Kind) -> u64 {
        let preferred = match self {
            Profile::Calm => return u64::from(kind.is_harmless()),
            Profile::Everything => return 2,
            Profile::Network => Group::Network,
            Profile::Store => Group::Store,
            Profile::Process => Group::Process,
            Profile::Disk => Group::Disk,
            Profile::Clock => Group::Clock,
            Profile::Operator => Group::Operator,
            Profile::Copies
            | Profile::Identity
            | Profile::Answers
            | Profile::Stalls
            | Profile::StaleViews
            | Profile::Branches
            | Profile::Strays
            | Profile::HandOvers
            | Profile::Synchronous
            | Profile::Failsafe => {
                let of_kind = self.kinds().iter().find(|(wanted, _)| *wanted == kind);
                return of_kind.map_or(0, |(_, weight)| *weight);
            }
        };
        if kind.group() == preferred { 8 } else { 1 }
    }

    /// The kinds of a hazard, with their weights.
    pub fn kinds(self) -> &'static [(Kind, u64)] {
        match self {
            Profile::Calm
            | Profile::Network
            | Profile::Store
            | Profile::Process
            | Profile::Disk
            | Profile::Clock
            | Profile::Operator
            | Profile::Everything => &[],
            Profile::Copies => &[
                (Kind::LoseDisk, 6),
                (Kind::Reinit, 6),
                (Kind::AddMember, 2),
                (Kind::KillAgent, 6),
                (Kind::KillTree, 3),
                (Kind::CrashHost, 4),
                (Kind::SlowDisk, 3),
                (Kind::FailClones, 1),
            ],
            Profile::Identity => &[
                (Kind::LoseIdentity, 6),
                (Kind::LoseDisk, 4),
                (Kind::AddMember, 2),
                (Kind::CrashHost, 3),
                (Kind::KillAgent, 2),
                (Kind::KillTree, 4),
                (Kind::Isolate, 2),
            ],
            Profile::Answers => &[
                (Kind::StoreLags, 8),
                (Kind::StopBackend, 5),
                (Kind::BlockBackend, 1),
                (Kind::HangServer, 3),
                (Kind::StoreDown, 3),
                (Kind::FreezeAgent, 6),
                (Kind::CutToStore, 4),
            ],
            Profile::Stalls => &[
                (Kind::FreezeAgent, 8),
                (Kind::StallCore, 6),
                (Kind::CrashHost, 6),
                (Kind::KillTree, 2),
                (Kind::KillPostmaster, 2),
                (Kind::DelayWatch, 4),
            ],
            Profile::StaleViews => &[
                (Kind::DelayWatch, 8),
                (Kind::CrashHost, 8),
                (Kind::Isolate, 4),
                (Kind::FreezeAgent, 4),
                (Kind::StallCore, 2),
            ],
            Profile::Strays => &[
                (Kind::StrayPrimary, 6),
                (Kind::CrashHost, 3),
                (Kind::KillTree, 2),
                (Kind::Isolate, 2),
                (Kind::CutStore, 2),
            ],
            Profile::Branches => &[
                (Kind::CutPeers, 8),
                (Kind::CrashHost, 6),
                (Kind::KillTree, 3),
                (Kind::KillPostmaster, 2),
                (Kind::Isolate, 3),
                (Kind::DelayReplication, 3),
            ],
            Profile::HandOvers => &[(Kind::Switchover, 8), (Kind::Restart, 1), (Kind::Shutdown, 2)],
            Profile::Synchronous => &[
                (Kind::CrashHost, 8),
                (Kind::CutPeers, 4),
                (Kind::Isolate, 2),
                (Kind::KillTree, 3),
                (Kind::Restart, 3),
                (Kind::KillPostmaster, 2),
                (Kind::DelayReplication, 4),
                (Kind::FreezeAgent, 2),
                (Kind::StoreSlow, 2),
                (Kind::Switchover, 1),
            ],
            Profile::Failsafe => &[
                (Kind::StoreDown, 8),
                (Kind::StoreFails, 3),
                (Kind::CutPeers, 6),
                (Kind::CutStore, 4),
                (Kind::Isolate, 4),
                (Kind::CutOneWay, 2),
                (Kind::FreezeAgent, 2),
                (Kind::KillAgent, 2),
                (Kind::CrashHost, 2),
            ],
        }
    }

    /// What the herd's configuration says more than usual.
    pub fn settings(self, rng: &mut Rng) -> Value {
        match self {
            Profile::Calm
            | Profile::Network
            | Profile::Store
            | Profile::Process
            | Profile::Disk
            | Profile::Clock
            | Profile::Operator
            | Profile::Everything
            | Profile::Copies
            | Profile::Identity
            | Profile::HandOvers => json!({}),
            Profile::Answers => json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 1}),
            Profile::Stalls | Profile::StaleViews | Profile::Branches | Profile::Strays => {
                json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 1, "maximum_lag_on_failover": 1000})
            }
            Profile::Synchronous => json!({
                "ttl": 5, "loop_wait": 1, "retry_timeout": 1,
                "synchronous_mode": if rng.one_in(3) { json!("quorum") } else { json!(true) },
                "synchronous_node_count": rng.range(1, 3),
            }),
            Profile::Failsafe => json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 1, "failsafe_mode": true}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for profile in Profile::ALL.into_iter().chain(Profile::HAZARDS) {
            assert_eq!(Profile::named(profile.word()), Some(profile));
            assert!(Kind::ALL.iter().any(|kind| profile.weight(*kind) > 0));
            assert_eq!(profile.is_hazard(), !profile.kinds().is_empty());
        }
        assert_eq!(Profile::named("nonsense"), None);
    }
}
