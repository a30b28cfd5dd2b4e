//! "The disk is full": it is said with what to do, nobody's data are removed to make room, and room is all that it takes to
//! go on.

mod common;

use jogi_testkit::disk::{self, SmallDisk};
use jogi_testkit::herd::{CHANGE_WITHIN, HerdSpec, Member, START_WITHIN};
use jogi_testkit::wait;
use serde_json::json;

const MIB: u64 = 1 << 20;

/// Members on disks that can be full.
fn spec() -> Option<HerdSpec> {
    let spec = common::spec()?;
    disk::own_mounts().expect("mounts of the test's own");
    Some(spec)
}

/// Puts everything of a member that has not begun on a disk of its own.
fn small_disk(member: &Member, bytes: u64) -> SmallDisk {
    let config = member.read_config();
    let disk = SmallDisk::mount(member.dir(), bytes).expect("a small disk");
    member.write_config(&config);
    disk
}

/// What an operator is told.
const REMEDY: &str = "(a disk is full: make room on it)";

#[test]
fn a_first_member_without_room_makes_no_cluster() {
    let Some(spec) = spec() else { return };
    let promised = spec.promises("a remedy is named");
    let herd = spec.members(1).build();
    let member = herd.member("n1");
    let disk = small_disk(member, 16 * MIB);
    member.start_agent();
    let exit = member.agent_exit(START_WITHIN);
    let said = member.log();
    assert!(exit.code().is_some_and(|code| code != 0), "it ended with {exit} and said:\n{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(!promised || said.contains(REMEDY), "{said}");
    assert_eq!(herd.key("initialize"), None, "the next start may try again");
    disk.resize(500 * MIB).expect("a larger disk");
    member.start_agent();
    wait::until("with room enough it leads", START_WITHIN, || member.is_primary());
}

#[test]
fn a_replica_without_room_waits_for_it_and_the_leader_goes_on() {
    let Some(spec) = spec() else { return };
    let promised = spec.promises("a remedy is named");
    let herd = spec.members(2).build();
    let (leader, replica) = (herd.member("n1"), herd.member("n2"));
    let disk = small_disk(replica, 16 * MIB);
    leader.start_agent();
    wait::until("the first leads", START_WITHIN, || leader.is_primary());
    let revision = herd.store().revision();
    replica.start_agent();
    let tries = || replica.log().matches("clone failed").count();
    replica.wait_log(0, "No space left on device", CHANGE_WITHIN);
    if promised {
        wait::until("it is tried again", CHANGE_WITHIN, || tries() >= 3);
        assert!(replica.log().contains(REMEDY), "{}", replica.log());
    }
    assert!(leader.is_primary() && replica.agent_runs());
    disk.resize(500 * MIB).expect("a larger disk");
    herd.wait_healthy();
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
}

/// PostgreSQL cannot even recover without room for WAL: another member leads, and the old primary keeps its data, is not
/// copied anew, and comes back by itself when there is room.
#[test]
fn a_primary_whose_disk_fills_up_hands_over_and_keeps_its_data() {
    let Some(spec) = spec() else { return };
    // What is written in a moment may be more than a standby has received in it.
    let herd = spec.members(2).dcs(json!({"maximum_lag_on_failover": 1 << 30})).build();
    let (old, other) = (herd.member("n1"), herd.member("n2"));
    let disk = small_disk(old, 160 * MIB);
    old.start_agent();
    wait::until("the first leads", START_WITHIN, || old.is_primary());
    other.start_agent();
    herd.wait_healthy();
    old.sql("CREATE TABLE big (x text)");
    let (identity, mark) = (old.data_directory_identity(), old.log_mark());
    let fill = "INSERT INTO big SELECT repeat('x', 1000) FROM generate_series(1, 10000)";
    let said = (0..100).find_map(|_| old.try_sql(fill).err()).expect("100 times 10 MB do not fit");
    assert!(said.text.contains("No space left on device") || said.code.is_none(), "{said}");
    wait::until("the other leads", CHANGE_WITHIN, || other.is_primary());
    old.wait_log(mark, "No space left on device", CHANGE_WITHIN);
    assert!(old.agent_runs(), "the agent waits for room");
    disk.resize(800 * MIB).expect("a larger disk");
    herd.wait_healthy();
    assert_eq!(herd.lock_holder().as_ref(), Some(&other.name));
    assert_eq!(old.data_directory_identity(), identity, "nothing was copied anew");
}
