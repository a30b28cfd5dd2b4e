//! A reader of a permanent logical slot goes on after a failover where it was: no change is missed, and the primary keeps
//! the catalog that the copies need.

mod common;

use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::wait;
use serde_json::json;

/// A copy waits for a restart of the replica, and becomes ready with the feedback after that.
const COPIED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_reader_of_a_logical_slot_misses_nothing_when_the_primary_dies() {
    let Some(spec) = common::spec() else { return };
    let slots = json!({"cdc": {"type": "logical", "database": "postgres", "plugin": "test_decoding"}, "backup": {}});
    let parameters = json!({"wal_level": "logical"});
    let herd = spec.dcs(json!({"slots": slots, "postgresql": {"parameters": parameters}})).start();
    let first = herd.wait_leader();
    wait::until("the slots on the primary", CHANGE_WITHIN, || has(first, "cdc") && has(first, "backup"));
    first.sql("CREATE TABLE told (x int)");
    let mut reader = Reader::default();
    reader.writes_and_reads(first);
    for replica in herd.others(&first.name) {
        // A copy needs WAL that the replica has: what the slot reads from lies, at first, before its base backup.
        wait::until("the permanent slots on a replica", COPIED_WITHIN, || {
            first.sql("CHECKPOINT");
            reader.writes_and_reads(first);
            has(replica, "cdc") && has(replica, "backup")
        });
        replica.wait_log(0, "logical slot 'cdc' can be used after a failover to this member", COPIED_WITHIN);
        assert_eq!(
            replica.sql_text("SHOW hot_standby_feedback"),
            "on",
            "{} makes the primary keep its catalog",
            replica.name
        );
    }
    reader.writes_and_reads(first);
    let confirmed = first.sql_text("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'cdc'");
    for replica in herd.others(&first.name) {
        let behind =
            format!("SELECT confirmed_flush_lsn >= '{confirmed}' FROM pg_replication_slots WHERE slot_name = 'cdc'");
        let follows = || replica.try_sql(&behind).is_ok_and(|rows| rows == [[Some("t".to_owned())]]);
        wait::until("the copies follow their reader", COPIED_WITHIN, follows);
    }

    // What was written and not read when the primary dies is read from the new one.
    reader.writes(first, 5);
    wait_received(&herd, first);
    first.crash();
    let second = herd.wait_new_leader(&first.name);
    reader.reads(second);
    reader.writes_and_reads(second);
    assert!(!second.log().contains("safe to use"), "its copy was ready");

    // The old primary has its slot anew, and can be the next.
    first.power_on();
    first.start_agent();
    herd.wait_healthy();
    wait::until("the slot on the former primary", COPIED_WITHIN, || {
        second.sql("CHECKPOINT");
        reader.writes_and_reads(second);
        has(first, "cdc")
    });
    herd.wait_healthy();
    let reply = second.post("/switchover", &json!({"leader": second.name, "candidate": first.name}));
    assert_eq!(reply.status, 200, "{}", reply.body);
    reader.reads(first);
    reader.writes_and_reads(first);
}

#[test]
fn what_the_configuration_no_longer_names_is_dropped_and_what_it_ignores_is_not() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let ignore = json!([{"name": "mine", "type": "physical"}]);
    let herd = spec.members(2).dcs(json!({"slots": {"backup": {}}, "ignore_slots": ignore})).start();
    let leader = herd.wait_leader();
    for member in herd.members() {
        wait::until("the permanent slot", CHANGE_WITHIN, || has(member, "backup"));
    }
    leader.sql("SELECT pg_create_physical_replication_slot('mine'), pg_create_physical_replication_slot('stray')");
    wait::until("the slot that nobody asked for to be dropped", CHANGE_WITHIN, || !has(leader, "stray"));
    assert_eq!(leader.patch("/config", &json!({"slots": {"backup": null}})).status, 200);
    for member in herd.members() {
        wait::until("the slot to be dropped", CHANGE_WITHIN, || !has(member, "backup"));
    }
    assert!(has(leader, "mine"), "an ignored slot is the user's own");
}

fn has(member: &Member, slot: &str) -> bool {
    let sql = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'");
    member.try_sql(&sql).is_ok_and(|rows| rows == [[Some("1".to_owned())]])
}

/// Everything that is written has reached every replica.
fn wait_received(herd: &Herd, primary: &Member) {
    let end = primary.sql_text("SELECT pg_current_wal_flush_lsn()");
    for replica in herd.others(&primary.name) {
        let sql = format!("SELECT pg_last_wal_receive_lsn() >= '{end}'");
        wait::until("a replica to have everything", CHANGE_WITHIN, || replica.sql_text(&sql) == "t");
    }
}

/// Writes numbered rows and reads what the slot tells of them.
#[derive(Default)]
struct Reader {
    written: u32,
    read: Vec<u32>,
}

impl Reader {
    fn writes(&mut self, primary: &Member, rows: u32) {
        for _ in 0..rows {
            primary.sql(&format!("INSERT INTO told VALUES ({})", self.written));
            self.written += 1;
        }
    }

    /// Takes every change that the slot has. A change may come twice, and none may be missing.
    fn reads(&mut self, primary: &Member) {
        let sql = "SELECT data FROM pg_logical_slot_get_changes('cdc', NULL, NULL) WHERE data LIKE 'table public.told: INSERT%'";
        let rows = wait::value("an answer of the slot", CHANGE_WITHIN, || primary.try_sql(sql).ok());
        let number = |data: &str| data.rsplit(':').next().and_then(|n| n.trim().parse::<u32>().ok());
        self.read.extend(rows.iter().filter_map(|row| number(row[0].as_deref().unwrap_or_default())));
        let missing: Vec<u32> = (0..self.written).filter(|n| !self.read.contains(n)).collect();
        assert!(missing.is_empty(), "{} never told of rows {missing:?}; it told of {:?}", primary.name, self.read);
    }

    fn writes_and_reads(&mut self, primary: &Member) {
        self.writes(primary, 5);
        self.reads(primary);
    }
}
