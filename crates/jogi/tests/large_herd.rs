//! "I have fifteen members": what each costs beside what each of three does.

mod common;

use std::fs;
use std::time::Duration;

use jogi_testkit::herd::{Herd, Member, START_WITHIN};
use jogi_testkit::wait;
use serde_json::json;

/// Several rounds of every member.
const MEASURED_FOR: Duration = Duration::from_secs(60);

/// After the last member has joined: what a start has allocated is given back, and the last changes are told.
const CALM: Duration = Duration::from_secs(20);

/// How a herd at rest burdens its machines.
struct Burden {
    members: u32,
    /// Of the member that has most, agent and guard: what no other process shares, in kB.
    anonymous: u64,
    resident: u64,
    requests_per_second: f64,
}

#[test]
#[ignore = "a measurement: scripts/proof.sh large"]
fn fifteen_members_cost_each_what_three_do_and_the_store_five_times_as_much() {
    let Some(few) = burden(3) else { return };
    let Some(many) = burden(15) else { return };
    for (what, few, many) in [("anonymous", few.anonymous, many.anonymous), ("resident", few.resident, many.resident)] {
        assert!(many * 10 <= few * 12, "{what} memory of the largest member: {few} kB of 3, {many} kB of 15");
    }
    let (few, many) = (few.requests_per_second, many.requests_per_second);
    assert!(many <= few * 5.0 * 1.2, "requests per second: {few:.2} of 3 members, {many:.2} of 15");
}

fn burden(members: u8) -> Option<Burden> {
    let senders = json!({"max_wal_senders": 20, "max_replication_slots": 20});
    let dcs = json!({"ttl": 30, "loop_wait": 10, "retry_timeout": 10, "postgresql": {"parameters": senders}});
    let herd = common::spec_on_loopback()?.members(usize::from(members)).dcs(dcs).build();
    herd.members()[0].start_agent();
    wait::until("the first member leads", START_WITHIN, || herd.members()[0].is_primary());
    // Copies one after the other: a machine of two cores makes fourteen at once no faster.
    for member in &herd.members()[1..] {
        member.start_agent();
        wait::until(&format!("{} replicates", member.name), START_WITHIN, || member.is_replica());
    }
    herd.wait_healthy();
    std::thread::sleep(CALM);
    let burden = measured(&herd, u32::from(members));
    println!(
        "{} members: anonymous memory of the largest {} kB, resident {} kB; {:.2} requests/s to the store",
        burden.members, burden.anonymous, burden.resident, burden.requests_per_second
    );
    Some(burden)
}

fn measured(herd: &Herd, members: u32) -> Burden {
    let before = herd.store().requests();
    std::thread::sleep(MEASURED_FOR);
    let requests = herd.store().requests() - before;
    let largest = |field: &str| herd.members().iter().map(|m| memory(m, field)).max().unwrap_or(0);
    let requests_per_second = requests as f64 / MEASURED_FOR.as_secs_f64();
    Burden { members, anonymous: largest("Anonymous:"), resident: largest("Rss:"), requests_per_second }
}

/// Of agent and guard together, in kB.
fn memory(member: &Member, field: &str) -> u64 {
    let of = |pid: i32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix(field).map(str::trim))?.to_owned();
        line.split(' ').next()?.parse::<u64>().ok()
    };
    let tree = member.agent_tree();
    let sum: u64 = tree.iter().filter_map(|pid| of(*pid)).sum();
    assert!(sum > 0, "{} has no agent among {tree:?}", member.name);
    sum
}
