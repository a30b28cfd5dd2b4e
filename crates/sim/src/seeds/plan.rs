//! What a seed has in mind: the herd, its settings, and what is done to it and when.
//!
//! A plan is made before its world begins and looks at nothing but the seed; whom a fault meets and whether it can
//! strike at all is decided at its moment. So a plan with some of its faults left out is a plan, and
//! [`shrink`](super::shrink) can look for the smallest one that still fails.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::profile::Profile;
use crate::agent::address;
use crate::net::HostId;
use crate::postgres::data::Dir;
use crate::rng::Rng;
use crate::world::{Herd, World};

/// What the command line may say about a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub profile: Option<Profile>,
    pub members: Option<usize>,
    /// Nothing is done after this moment; the herd is repaired and has to heal.
    pub until: Option<Duration>,
    /// Only the faults with these numbers.
    pub only: Option<Vec<usize>>,
    /// The mean time between two faults.
    pub fault_every: Option<Duration>,
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Who holds the leader key at that moment, else the member of this number.
    Leader(u64),
    Member(u64),
}

/// What a fault may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Await {
    /// The next change of the leader lock.
    Change,
    /// Somebody copies or rewinds; it meets that member.
    Copy,
    /// Somebody's agent runs on an empty data directory.
    Empty,
}

/// One fault in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub number: usize,
    pub kind: Kind,
    /// Since the first client wrote; it does not move when an earlier fault is left out.
    pub at: Duration,
    /// In a gentle plan: for so long the herd rests after it has healed.
    pub rest: Duration,
    pub lasts: Duration,
    pub aim: Aim,
    pub other: u64,
    pub size: u64,
    /// It waits for this, and strikes so long after it: in the middle of a promotion, of a copy.
    pub after: Option<(Await, Duration)>,
    pub gentle: bool,
}

impl Planned {
    pub fn host(&self, world: &World) -> HostId {
        let members = members(world);
        if let Some(host) = self.after.filter(|(what, _)| *what == Await::Copy).and_then(|_| copying(world)) {
            return host;
        }
        let number = match self.aim {
            Aim::Member(number) => number,
            Aim::Leader(number) => {
                world.store.leader().and_then(|name| world.host_named(name)).map_or(number, |host| host as u64)
            }
        };
        (number % members) as usize
    }

    pub fn other(&self, world: &World) -> HostId {
        (self.other % members(world)) as usize
    }
}

/// How many hosts are the herd's: a primary outside is the last one, and nothing befalls it.
fn members(world: &World) -> u64 {
    world.hosts.iter().filter(|host| !host.remote).count() as u64
}

/// Whose data directory is half made at this moment.
pub fn copying(world: &World) -> Option<HostId> {
    world.hosts.iter().position(|host| matches!(host.pg.dir, Dir::HalfMade(_)))
}

/// Whose agent runs on an empty data directory.
pub fn empty(world: &World) -> Option<HostId> {
    world.hosts.iter().position(|host| host.agent.is_some() && matches!(host.pg.dir, Dir::Empty))
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub profile: Profile,
    pub herd: Herd,
    /// The last so many members join later, if at all.
    pub absent: usize,
    /// The last host, when it is a primary outside the herd.
    pub remote: Option<HostId>,
    /// Every host's clock, in millionths too fast.
    pub drifts: Vec<i64>,
    /// Time between two writes of each client.
    pub clients: Vec<Duration>,
    /// A `pre_promote` script is configured.
    pub scripts: bool,
    pub faults: Vec<Planned>,
    pub until: Option<Duration>,
}

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
pub const MEMBERS_MAX: usize = NAMES.len();
/// The primary that a standby cluster follows.
const REMOTE: &str = "r";

impl Plan {
    /// The plan of `seed`. What the options set is drawn all the same, so that the rest stays as it was.
    pub fn new(seed: u64, options: &Options) -> Plan {
        let mut rng = Rng::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(17));
        let drawn =
            if rng.one_in(5) { Profile::Calm } else { *rng.pick(&Profile::ALL).unwrap_or(&Profile::Everything) };
        let profile = options.profile.unwrap_or(drawn);
        let drawn = *rng.pick(&[1, 2, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7]).unwrap_or(&3);
        let members = options.members.unwrap_or(drawn).clamp(1, MEMBERS_MAX);
        let members = if profile.is_hazard() { options.members.unwrap_or(members.max(3)) } else { members };
        let absent = usize::from(rng.one_in(4) && members > 2);
        let gentle = profile.is_gentle();
        let drift = if gentle { 0 } else { *rng.pick(&[0, 500, 5_000, 10_000]).unwrap_or(&0) };
        let drifts = NAMES.iter().map(|_| rng.range(0, 2 * drift + 1) as i64 - drift as i64).collect();
        // A hazard has the settings that bring it about, and no others.
        let modes = if profile.is_hazard() { Map::new() } else { modes(seed) };
        let mut dynamic = settings(&mut rng, modes);
        if let (Value::Object(all), Value::Object(more)) = (&mut dynamic, profile.settings(&mut Rng::new(seed))) {
            all.extend(more);
        }
        let clients = clients(&mut rng, profile);
        let scripts = rng.one_in(3);
        let mut faults = faults(&mut rng, profile, options.fault_every);
        if let Some(only) = &options.only {
            faults.retain(|fault| only.contains(&fault.number));
        }
        let mut names: Vec<String> = NAMES.iter().take(members).map(|n| (*n).to_owned()).collect();
        if profile.has_remote() {
            names.push(REMOTE.to_owned());
            dynamic["standby_cluster"] = json!({"host": address(members), "port": 5432});
        }
        Plan {
            seed,
            profile,
            herd: Herd { members: names, dynamic, seed },
            absent,
            remote: profile.has_remote().then_some(members),
            drifts,
            clients,
            scripts,
            faults,
            until: options.until,
        }
    }
}

/// The modes that the herd begins with: what its promises are. From a stream of their own, beside everything else.
fn modes(seed: u64) -> Map<String, Value> {
    let mut rng = Rng::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(4711));
    let mut modes = Map::new();
    if rng.one_in(4) {
        modes.insert("failsafe_mode".to_owned(), json!(true));
    }
    if rng.one_in(3) {
        let mode = rng.pick(&[json!(true), json!("quorum")]).cloned().unwrap_or_default();
        modes.insert("synchronous_mode".to_owned(), mode);
        modes.insert("synchronous_node_count".to_owned(), json!(rng.pick(&[1, 1, 2, 3])));
        modes.insert("synchronous_mode_strict".to_owned(), json!(rng.one_in(4)));
        modes.insert("maximum_lag_on_syncnode".to_owned(), json!(rng.pick(&[-1, -1, 200, 1_048_576])));
    }
    if rng.one_in(6) {
        modes.insert("slots".to_owned(), permanent_slots(rng.one_in(2)));
    }
    modes
}

/// A slot for a backup, and one for a reader of changes.
pub fn permanent_slots(logical: bool) -> Value {
    let mut slots = json!({"backup": {"type": "physical"}});
    if logical {
        slots["changes"] = json!({"type": "logical", "database": "app", "plugin": "pgoutput"});
    }
    slots
}

/// Time between two writes of each client. Over many seeds they commit about once a second, as a cluster-hour asks for:
/// most herds less often, some in every window that a fault opens. A hazard is met under load.
fn clients(rng: &mut Rng, profile: Profile) -> Vec<Duration> {
    let (busy_one_in, busy, quiet) =
        if profile.is_hazard() { (4, (50, 500), (400, 900)) } else { (20, (100, 600), (900, 2_500)) };
    if rng.one_in(busy_one_in) {
        (0..rng.range(2, 5)).map(|_| rng.millis(busy.0, busy.1)).collect()
    } else {
        vec![rng.millis(quiet.0, quiet.1)]
    }
}

fn settings(rng: &mut Rng, modes: Map<String, Value>) -> Value {
    let ttl = *rng.pick(&[2, 5, 10, 30, 30, 30]).unwrap_or(&5);
    let start_timeout = *rng.pick(&[0, 300]).unwrap_or(&300);
    let lag = *rng.pick(&[0, 10_000, 1_048_576, 1_048_576]).unwrap_or(&1_048_576);
    let mut settings = json!({
        "ttl": ttl,
        "loop_wait": if ttl < 10 { 1 } else { ttl / 3 },
        "retry_timeout": if ttl < 10 { 1 } else { ttl / 3 },
        "primary_start_timeout": start_timeout,
        "maximum_lag_on_failover": lag,
        "postgresql": {
            "use_pg_rewind": !rng.one_in(5),
            "remove_data_directory_on_diverged_timelines": true,
            "remove_data_directory_on_rewind_failure": true,
        },
    });
    if let Value::Object(all) = &mut settings {
        all.extend(modes);
    }
    settings
}

fn faults(rng: &mut Rng, profile: Profile, every: Option<Duration>) -> Vec<Planned> {
    let gentle = profile.is_gentle();
    // What this seed likes: the profile's preferences, and whims of its own.
    let mut weights =
        Kind::ALL.map(|kind| (kind, profile.weight(kind) * *rng.pick(&[0, 1, 1, 2, 6]).unwrap_or(&1))).to_vec();
    if profile.is_hazard() {
        weights = profile.kinds().iter().map(|(kind, weight)| (*kind, weight * rng.range(1, 4))).collect();
    }
    let dense = profile.is_hazard() && !gentle;
    let spacing = if gentle { 6_000 } else { *rng.pick(&[3_000, 8_000, 20_000, 50_000, 90_000]).unwrap_or(&8_000) };
    let spacing = every.map_or(spacing, |every| every.as_millis() as u64);
    let longest = if gentle { 45_000 } else { *rng.pick(&[15_000, 40_000, 120_000]).unwrap_or(&40_000) };
    let length = if gentle { rng.range(3, 8) * 6_000 } else { rng.range(60_000, 300_000 + 10 * spacing) };
    let dense = dense && every.is_none();
    let (spacing, longest) =
        if dense { (*rng.pick(&[1_500, 3_000, 6_000]).unwrap_or(&3_000), 20_000) } else { (spacing, longest) };
    let to_leader = if dense { 2 } else { rng.range(2, 5) };
    let mut at = 0;
    let mut all = Vec::new();
    while at < length {
        let wait = rng.range(100, 2 * spacing);
        at += wait;
        let kind = weighted(rng, &weights);
        let hangs = kind == Kind::HangServer || kind == Kind::StopPostmaster;
        let stuck = kind == Kind::StopBackend || kind == Kind::BlockBackend || hangs && profile == Profile::Hangs;
        let longest = if stuck { 150_000 } else { longest };
        let lasts = if rng.one_in(3) { rng.millis(50, 3_000) } else { rng.millis(100, longest) };
        let (number, draw) = (all.len() + 1, rng.draw());
        let aim = if rng.one_in(to_leader) { Aim::Leader(draw) } else { Aim::Member(draw) };
        let (other, size) = (rng.draw(), rng.draw());
        let mut after = (rng.one_in(6) && !gentle).then(|| (Await::Change, rng.millis(0, 400)));
        if profile.is_hazard() {
            after = profile.awaits(kind).map(|what| (what, rng.millis(0, 1_000))).or(after);
        }
        all.push(Planned {
            number,
            kind,
            at: Duration::from_millis(at),
            rest: Duration::from_millis(wait),
            lasts,
            aim,
            other,
            size,
            after,
            gentle,
        });
    }
    all
}

fn weighted(rng: &mut Rng, weights: &[(Kind, u64)]) -> Kind {
    let mut at = rng.range(0, weights.iter().map(|(_, weight)| weight).sum::<u64>());
    for (kind, weight) in weights {
        if at < *weight {
            return *kind;
        }
        at -= weight;
    }
    Kind::StoreChangesLeader
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_options_change_only_what_they_name() {
        let plan = |options: &Options| Plan::new(11, options);
        let (all, same) = (plan(&Options::default()), plan(&Options::default()));
        assert_eq!(all.faults, same.faults);
        let fewer = plan(&Options { members: Some(2), only: Some(vec![2]), ..Options::default() });
        assert_eq!(fewer.herd.members, ["a", "b"]);
        assert_eq!(fewer.faults, [all.faults[1]]);
        let named = plan(&Options { profile: Some(Profile::Disk), ..Options::default() });
        assert_eq!(named.profile, Profile::Disk);
    }
}
