//! What many seeds came to, and whether that was enough of everything: a kind that never happened was never tested.

use std::collections::BTreeMap;
use std::time::Duration;

use jogi_core::view::{Settings, SyncMode};
use serde_json::Value;

use super::kind::Kind;
use super::run::Ended;
use crate::world::Counts;

/// Sums over seeds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub counts: Counts,
    pub commits: u64,
    /// Acknowledged rows that were lost; only faults that may lose any lose some.
    pub lost_rows: u64,
    /// Virtual time that was lived through.
    pub simulated: Duration,
    /// The part of it that herds of three and more members lived through, with what happened to them.
    pub hours: Hours,
    /// Herds by the modes that they began with.
    pub modes: BTreeMap<&'static str, u64>,
    /// Of all histories: the same on every machine.
    pub digest: u64,
}

/// Time of herds with three members and more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hours {
    pub time: Duration,
    pub faults: u64,
    pub commits: u64,
    pub leader_changes: u64,
}

/// What a cluster-hour has to contain to count as one.
const FAULTS: f64 = 30.0;
const COMMITS: f64 = 3600.0;
const LEADER_CHANGES: f64 = 4.0;

impl Hours {
    /// Hours that count: as many as the time, the faults, the commits and the leader changes all make up.
    pub fn counted(&self) -> f64 {
        let time = self.time.as_secs_f64() / 3600.0;
        let others =
            [self.faults as f64 / FAULTS, self.commits as f64 / COMMITS, self.leader_changes as f64 / LEADER_CHANGES];
        others.into_iter().fold(time, f64::min)
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.time.as_secs_f64() / 3600.0;
        let (faults, changes) = (self.faults as f64 / hours, self.leader_changes as f64 / hours);
        let commits = self.commits as f64 / self.time.as_secs_f64();
        write!(
            f,
            "{hours:.1} h, an hour with {faults:.0} faults and {changes:.0} leader changes, {commits:.2} commits/s"
        )
    }
}

/// From so many seeds on, everything has to have happened.
pub const ENOUGH_SEEDS: u64 = 2000;

impl Report {
    pub fn add(&mut self, ended: &Ended) {
        let world = &ended.world;
        let time = Duration::from_nanos(world.now.0);
        self.seeds += 1;
        self.commits += world.commits;
        self.lost_rows += ended.lost_rows as u64;
        self.simulated += time;
        self.digest = self.digest.rotate_left(5) ^ world.digest();
        self.counts.add(&world.counts);
        let (dynamic, settings) = (&world.herd.dynamic, Settings::from_value(&world.herd.dynamic));
        let modes = MODES.iter().filter(|(_, has)| has(dynamic, &settings));
        modes.for_each(|(mode, _)| *self.modes.entry(mode).or_default() += 1);
        if world.hosts.len() >= 3 {
            self.hours.time += time;
            self.hours.faults += ended.struck.len() as u64;
            self.hours.commits += world.commits;
            self.hours.leader_changes += world.counts.leader_changes;
        }
    }

    pub fn merge(&mut self, next: &Report) {
        self.seeds += next.seeds;
        self.commits += next.commits;
        self.lost_rows += next.lost_rows;
        self.simulated += next.simulated;
        self.digest = self.digest.rotate_left(5) ^ next.digest;
        self.counts.add(&next.counts);
        next.modes.iter().for_each(|(mode, count)| *self.modes.entry(mode).or_default() += count);
        self.hours.time += next.hours.time;
        self.hours.faults += next.hours.faults;
        self.hours.commits += next.hours.commits;
        self.hours.leader_changes += next.hours.leader_changes;
    }

    /// What never happened although there were seeds enough for it.
    pub fn missing(&self) -> Vec<String> {
        if self.seeds < ENOUGH_SEEDS {
            return Vec::new();
        }
        let Counts { kinds, effects_by_name, .. } = &self.counts;
        let faults = Kind::ALL.iter().filter(|kind| !kinds.contains_key(kind)).map(|kind| format!("fault {kind}"));
        let effects = EFFECTS.iter().filter(|name| effects_by_name.get(*name).copied().unwrap_or(0) == 0);
        let effects = effects.map(|name| format!("effect {name}"));
        let others = self.others().into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what.to_owned());
        let modes =
            MODES.iter().filter(|(mode, _)| !self.modes.contains_key(mode)).map(|(mode, _)| format!("herd {mode}"));
        faults.chain(effects).chain(others).chain(modes).collect()
    }

    fn others(&self) -> [(&'static str, u64); 14] {
        let counts = &self.counts;
        [
            ("promotions", counts.promotions),
            ("leader changes", counts.leader_changes),
            ("commits", self.commits),
            ("bootstraps", counts.bootstraps),
            ("starts", counts.starts),
            ("clones", counts.clones),
            ("rewinds", counts.rewinds),
            ("closed by the guard at soft", counts.closed_at_soft),
            ("killed by the guard at hard", counts.killed_at_hard),
            ("hung primaries given up", counts.hung_noticed),
            ("stale readings", counts.stale_reads),
            ("dones lost", counts.dones_lost),
            ("dones late", counts.dones_late),
            ("dones reordered", counts.dones_reordered),
        ]
    }
}

type Has = fn(&Value, &Settings) -> bool;

/// What a herd can promise from its beginning.
const MODES: [(&str, Has); 9] = [
    ("failsafe", |_, s| s.failsafe_mode),
    ("priority", |_, s| s.sync_mode == SyncMode::Priority),
    ("quorum", |_, s| s.sync_mode == SyncMode::Quorum),
    ("strict", |_, s| s.is_sync() && s.sync_strict),
    ("several synchronous nodes", |_, s| s.is_sync() && s.sync_node_count > 1),
    ("failsafe and synchronous", |_, s| s.is_sync() && s.failsafe_mode),
    ("permanent slots", |dynamic, _| dynamic.get("slots").is_some()),
    ("permanent logical slots", |dynamic, _| dynamic.get("slots").is_some_and(|s| s.get("changes").is_some())),
    ("maximum lag on syncnode", |_, s| s.is_sync() && s.maximum_lag_on_syncnode >= 0),
];

/// What the core can ask for and the simulator's herds give it reason to.
const EFFECTS: [&str; 38] = [
    "acquire",
    "release",
    "release-stale",
    "load",
    "write",
    "look",
    "ask",
    "compare",
    "find-end-of-wal",
    "read-history",
    "intend",
    "settle",
    "configure",
    "reload",
    "launch",
    "signal",
    "fence",
    "promote",
    "reserve-timelines",
    "arm",
    "initdb",
    "post-bootstrap",
    "put-aside",
    "clone",
    "single-user",
    "rewind",
    "checkpoint",
    "slots",
    "logical-slots",
    "ask-horizon",
    "fetch-slots",
    "install-slots",
    "script",
    "callback",
    "save-dynamic",
    "cancel",
    "reply",
    "exit",
];

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults: Vec<(String, u64)> = Kind::ALL
            .iter()
            .map(|kind| (kind.to_string(), self.counts.kinds.get(kind).copied().unwrap_or(0)))
            .collect();
        let effects: Vec<(String, u64)> =
            self.counts.effects_by_name.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let others: Vec<(String, u64)> =
            self.others().iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
        let modes: Vec<(String, u64)> =
            MODES.iter().map(|(mode, _)| ((*mode).to_owned(), self.modes.get(mode).copied().unwrap_or(0))).collect();
        table(f, "herds that began with modes", &modes)?;
        table(f, "faults", &faults)?;
        table(f, "effects carried out", &effects)?;
        table(f, "and", &others)
    }
}

fn table(f: &mut std::fmt::Formatter<'_>, title: &str, rows: &[(String, u64)]) -> std::fmt::Result {
    let all: u64 = rows.iter().map(|(_, count)| count).sum();
    writeln!(f, "{title}{}", if title == "and" { String::new() } else { format!(": {all}") })?;
    for line in rows.chunks(3) {
        let cells: Vec<String> = line.iter().map(|(what, count)| format!("{what:<28}{count:>10}")).collect();
        writeln!(f, "  {}", cells.join("   "))?;
    }
    Ok(())
}
