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
    /// Servers that hang for long, and little else that is wrong.
    Hangs,
    /// Herds that follow a primary outside.
    StandbyClusters,
}

/// All that makes one profile.
struct Shape {
    profile: Profile,
    word: &'static str,
    bias: Bias,
    /// What the herd's configuration says more than usual.
    settings: fn(&mut Rng) -> Value,
    /// What a fault of this kind waits for.
    awaits: &'static [(Kind, Await)],
}

/// Which kinds of faults it prefers.
enum Bias {
    /// One that may lose nothing, and no other.
    Harmless,
    Any,
    Group(Group),
    /// A hazard: these alone, with their weights.
    Only(&'static [(Kind, u64)]),
}

const fn shape(profile: Profile, word: &'static str, bias: Bias) -> Shape {
    Shape { profile, word, bias, settings: |_| json!({}), awaits: &[] }
}

/// In the order of the enum.
static SHAPES: [Shape; 20] = [
    shape(Profile::Calm, "calm", Bias::Harmless),
    shape(Profile::Network, "network", Bias::Group(Group::Network)),
    shape(Profile::Store, "store", Bias::Group(Group::Store)),
    shape(Profile::Process, "process", Bias::Group(Group::Process)),
    shape(Profile::Disk, "disk", Bias::Group(Group::Disk)),
    shape(Profile::Clock, "clock", Bias::Group(Group::Clock)),
    shape(Profile::Operator, "operator", Bias::Group(Group::Operator)),
    shape(Profile::Everything, "everything", Bias::Any),
    Shape {
        awaits: &[(Kind::KillAgent, Await::Copy), (Kind::KillTree, Await::Copy), (Kind::CrashHost, Await::Copy)],
        ..shape(
            Profile::Copies,
            "copies",
            Bias::Only(&[
                (Kind::LoseDisk, 6),
                (Kind::Reinit, 6),
                (Kind::AddMember, 2),
                (Kind::KillAgent, 6),
                (Kind::KillTree, 3),
                (Kind::CrashHost, 4),
                (Kind::SlowDisk, 3),
                (Kind::FailClones, 1),
            ]),
        )
    },
    Shape {
        awaits: &[(Kind::LoseIdentity, Await::Empty)],
        ..shape(
            Profile::Identity,
            "identity",
            Bias::Only(&[
                (Kind::LoseIdentity, 6),
                (Kind::LoseDisk, 4),
                (Kind::AddMember, 2),
                (Kind::CrashHost, 3),
                (Kind::KillAgent, 2),
                (Kind::KillTree, 4),
                (Kind::Isolate, 2),
            ]),
        )
    },
    Shape {
        settings: short_lease,
        ..shape(
            Profile::Answers,
            "answers",
            Bias::Only(&[
                (Kind::StoreLags, 8),
                (Kind::StopBackend, 5),
                (Kind::BlockBackend, 1),
                (Kind::HangServer, 3),
                (Kind::StoreDown, 3),
                (Kind::FreezeAgent, 6),
                (Kind::CutToStore, 4),
            ]),
        )
    },
    Shape {
        settings: short_lease_little_lag,
        ..shape(
            Profile::Stalls,
            "stalls",
            Bias::Only(&[
                (Kind::FreezeAgent, 8),
                (Kind::StallCore, 6),
                (Kind::CrashHost, 6),
                (Kind::KillTree, 2),
                (Kind::KillPostmaster, 2),
                (Kind::DelayWatch, 4),
            ]),
        )
    },
    Shape {
        settings: short_lease_little_lag,
        awaits: &[(Kind::CrashHost, Await::Change)],
        ..shape(
            Profile::StaleViews,
            "stale-views",
            Bias::Only(&[
                (Kind::DelayWatch, 8),
                (Kind::CrashHost, 8),
                (Kind::Isolate, 4),
                (Kind::FreezeAgent, 4),
                (Kind::StallCore, 2),
            ]),
        )
    },
    Shape {
        settings: short_lease_little_lag,
        ..shape(
            Profile::Branches,
            "branches",
            Bias::Only(&[
                (Kind::CutPeers, 8),
                (Kind::CrashHost, 6),
                (Kind::KillTree, 3),
                (Kind::KillPostmaster, 2),
                (Kind::Isolate, 3),
                (Kind::DelayReplication, 3),
            ]),
        )
    },
    Shape {
        settings: short_lease_little_lag,
        ..shape(
            Profile::Strays,
            "strays",
            Bias::Only(&[
                (Kind::StrayPrimary, 6),
                (Kind::CrashHost, 3),
                (Kind::KillTree, 2),
                (Kind::Isolate, 2),
                (Kind::CutStore, 2),
            ]),
        )
    },
    shape(
        Profile::HandOvers,
        "hand-overs",
        Bias::Only(&[(Kind::Switchover, 8), (Kind::Restart, 1), (Kind::Shutdown, 2)]),
    ),
    Shape {
        settings: synchronous,
        ..shape(
            Profile::Synchronous,
            "synchronous",
            Bias::Only(&[
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
            ]),
        )
    },
    Shape {
        settings: failsafe,
        ..shape(
            Profile::Failsafe,
            "failsafe",
            Bias::Only(&[
                (Kind::StoreDown, 8),
                (Kind::StoreFails, 3),
                (Kind::CutPeers, 6),
                (Kind::CutStore, 4),
                (Kind::Isolate, 4),
                (Kind::CutOneWay, 2),
                (Kind::FreezeAgent, 2),
                (Kind::KillAgent, 2),
                (Kind::CrashHost, 2),
            ]),
        )
    },
    Shape {
        settings: short_lease,
        ..shape(
            Profile::Hangs,
            "hangs",
            Bias::Only(&[
                (Kind::HangServer, 2),
                (Kind::StopPostmaster, 2),
                (Kind::Restart, 2),
                (Kind::Switchover, 1),
                (Kind::ChangeSlots, 4),
                (Kind::StepWallClock, 8),
                (Kind::StoreChangesLeader, 8),
            ]),
        )
    },
    Shape {
        settings: short_lease,
        ..shape(
            Profile::StandbyClusters,
            "standby-clusters",
            Bias::Only(&[
                (Kind::CrashHost, 6),
                (Kind::Isolate, 4),
                (Kind::CutPeers, 4),
                (Kind::CutStore, 3),
                (Kind::KillTree, 3),
                (Kind::KillAgent, 2),
                (Kind::KillPostmaster, 4),
                (Kind::HangServer, 2),
                (Kind::FreezeAgent, 3),
                (Kind::StoreDown, 2),
                (Kind::DelayWatch, 2),
                (Kind::DelayReplication, 2),
                (Kind::Switchover, 3),
                (Kind::Restart, 2),
                (Kind::Reinit, 2),
                (Kind::LoseDisk, 2),
                (Kind::AddMember, 1),
            ]),
        )
    },
];

fn short_lease(_: &mut Rng) -> Value {
    json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 1})
}

fn short_lease_little_lag(_: &mut Rng) -> Value {
    json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 1, "maximum_lag_on_failover": 1000})
}

fn synchronous(rng: &mut Rng) -> Value {
    json!({
        "ttl": 5, "loop_wait": 1, "retry_timeout": 1,
        "synchronous_mode": if rng.one_in(3) { json!("quorum") } else { json!(true) },
        "synchronous_node_count": rng.range(1, 3),
    })
}

fn failsafe(_: &mut Rng) -> Value {
    json!({"ttl": 5, "loop_wait": 1, "retry_timeout": 1, "failsafe_mode": true})
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

    fn shape(self) -> &'static Shape {
        &SHAPES[self as usize]
    }

    pub fn word(self) -> &'static str {
        self.shape().word
    }

    pub fn named(word: &str) -> Option<Profile> {
        SHAPES.iter().find(|shape| shape.word == word).map(|shape| shape.profile)
    }

    /// One hazard, asked for by name.
    pub fn is_hazard(self) -> bool {
        matches!(self.shape().bias, Bias::Only(_))
    }

    /// One fault at a time, the herd heals before the next one, and nothing may be lost.
    pub fn is_gentle(self) -> bool {
        matches!(self, Profile::Calm | Profile::HandOvers)
    }

    /// Hand-overs are tried with standbys that are always a little behind.
    pub fn replication_delay(self) -> Duration {
        if self == Profile::HandOvers { Duration::from_millis(150) } else { Duration::ZERO }
    }

    /// The herd follows a primary outside.
    pub fn has_remote(self) -> bool {
        self == Profile::StandbyClusters
    }

    /// What a fault of this kind waits for.
    pub fn awaits(self, kind: Kind) -> Option<Await> {
        self.shape().awaits.iter().find(|(waiting, _)| *waiting == kind).map(|(_, what)| *what)
    }

    /// How often a kind is chosen, beside the others.
    pub fn weight(self, kind: Kind) -> u64 {
        match &self.shape().bias {
            Bias::Harmless => u64::from(kind.is_harmless()),
            Bias::Any => 2,
            Bias::Group(preferred) if kind.group() == *preferred => 8,
            Bias::Group(_) => 1,
            Bias::Only(kinds) => kinds.iter().find(|(wanted, _)| *wanted == kind).map_or(0, |(_, weight)| *weight),
        }
    }

    /// The kinds of a hazard, with their weights.
    pub fn kinds(self) -> &'static [(Kind, u64)] {
        match self.shape().bias {
            Bias::Only(kinds) => kinds,
            Bias::Harmless | Bias::Any | Bias::Group(_) => &[],
        }
    }

    /// What the herd's configuration says more than usual.
    pub fn settings(self, rng: &mut Rng) -> Value {
        (self.shape().settings)(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_shape_for_each_in_its_place() {
        for (place, shape) in SHAPES.iter().enumerate() {
            let profile = shape.profile;
            assert_eq!(profile as usize, place, "{}", shape.word);
            assert_eq!(Profile::named(profile.word()), Some(profile));
            assert!(Kind::ALL.iter().any(|kind| profile.weight(*kind) > 0));
            assert!(profile.is_hazard() != Profile::ALL.contains(&profile), "seeds choose whatever is no hazard");
        }
        assert_eq!(Profile::named("nonsense"), None);
    }
}
