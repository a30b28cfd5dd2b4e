//! "I start three machines at once and get one cluster", down to the bytes that other tools read in the store.

mod common;

use jogi_testkit::herd::{Herd, Member, PASSWORD, START_WITHIN};
use jogi_testkit::{process, wait};
use serde_json::{Map, Value, json};

/// The optional fields of a member's value are left out here when absent; the order is Patroni's.
const MEMBER_FIELDS: [&str; 16] = [
    "conn_url",
    "api_url",
    "state",
    "role",
    "version",
    "proxy_url",
    "checkpoint_after_promote",
    "tags",
    "pending_restart",
    "pending_restart_reason",
    "xlog_location",
    "replay_lsn",
    "receive_lsn",
    "replication_state",
    "timeline",
    ADDED,
];

/// What this program adds to a value of Patroni's stands at its end, under this one name.
const ADDED: &str = "jogi";

#[test]
fn three_members_started_at_once_make_one_cluster() {
    let Some(spec) = common::spec() else { return };
    let foreign = spec.is_foreign();
    let spec = spec.member_config("n3", json!({"tags": {"clonefrom": true, "nofailover": false, "rack": "r3"}}));
    let herd = spec.build();
    for member in herd.members() {
        member.start_agent();
    }
    wait::until("a leader", START_WITHIN, || herd.leader().is_some());
    herd.wait_healthy();

    one_identity(&herd);
    the_store_holds_what_others_expect(&herd, foreign);
    servers_are_configured(&herd);
    users_may_do_what_they_must(&herd);
    rows_reach_every_member(&herd);
    no_secret_is_shown(&herd);
}

/// One initdb, one system identifier, one first leader.
fn one_identity(herd: &Herd) {
    let identities = herd.values_after(0, "initialize");
    let [Some(empty), Some(identity)] = &identities[..] else { panic!("`initialize` was {identities:?}") };
    assert_eq!(empty, "", "first the empty promise");
    assert!(identity.len() >= 10 && identity.bytes().all(|b| b.is_ascii_digit()), "identity {identity:?}");
    for member in herd.members() {
        assert_eq!(&member.system_identifier(), identity, "data of {}", member.name);
        assert_eq!(member.status()["database_system_identifier"], json!(identity));
    }
    let leader = herd.wait_leader();
    let holders = herd.values_after(0, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went through {holders:?}");
}

fn the_store_holds_what_others_expect(herd: &Herd, foreign: bool) {
    let leader = herd.wait_leader();
    the_status_is_patronis(herd, leader);

    let entries = herd.store().entries("/");
    let known = ["config", "failover", "history", "initialize", "leader", "status", "sync"];
    for key in entries.keys() {
        let relative = key.strip_prefix("/service/herd/").unwrap_or_else(|| panic!("a key outside: {key}"));
        let member = relative.strip_prefix("members/").is_some_and(|m| herd.members().iter().any(|n| n.name == m));
        assert!(member || known.contains(&relative), "a key that nobody knows: {key}");
    }
    let entry = |key: &str| entries.get(&format!("/service/herd/{key}")).unwrap_or_else(|| panic!("no key {key}"));

    let lock = entry("leader");
    assert_eq!(lock.value, leader.name, "the bare name");
    let ttl = i64::try_from(herd.ttl().as_secs()).expect("a small ttl");
    assert_eq!(herd.store().lease_ttl(lock.lease), Some(ttl), "a lease of exactly ttl");
    for key in ["config", "initialize", "status"] {
        assert_eq!(entry(key).lease, 0, "{key} outlives everybody");
    }

    let config: Value = serde_json::from_str(&entry("config").value).expect("JSON");
    assert_eq!(config.to_string(), entry("config").value, "compact JSON");
    assert_eq!(keys(&config), ["ttl", "loop_wait", "retry_timeout", "maximum_lag_on_failover", "postgresql"]);
    if !foreign {
        assert_eq!(config["ttl"], 5, "short times are ours to use");
    }
    for member in herd.members() {
        let entry = entry(&format!("members/{}", member.name));
        assert_ne!(entry.lease, 0, "a member's key goes with the member");
        the_member_value_is_patronis(&member.name, &entry.value, member.name == leader.name);
    }
}

/// Before PostgreSQL 11 a standby cannot advance a slot, and positions of slots are not published.
fn the_status_is_patronis(herd: &Herd, leader: &Member) {
    let wanted: &[&str] = match leader.major_version() {
        11.. => &["optime", "slots", "retain_slots"],
        _ => &["optime"],
    };
    let count = |status: &Value, field: &str| {
        status[field].as_object().map(Map::len).or(status[field].as_array().map(Vec::len))
    };
    let whole = |status: &Value| wanted[1..].iter().all(|field| count(status, field) == Some(3));
    let status = wait::value("`status` with the slots of all", START_WITHIN, || {
        serde_json::from_str(&herd.key("status")?).ok().filter(whole)
    });
    let others: Vec<&str> = keys(&status).into_iter().filter(|key| *key != "jogi").collect();
    assert_eq!(others, wanted);
    assert!(status["optime"].is_u64(), "{status}");
    if leader.major_version() >= 11 {
        assert_eq!(status["retain_slots"], json!(["n1", "n2", "n3"]));
        assert!(status["slots"][&leader.name].is_u64(), "{status}");
    }
}

fn the_member_value_is_patronis(name: &str, text: &str, leads: bool) {
    let value: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(value.to_string(), text, "compact JSON");
    let fields = keys(&value);
    let wanted: Vec<&str> = MEMBER_FIELDS.into_iter().filter(|f| fields.contains(f)).collect();
    assert_eq!(fields, wanted, "fields and order of {name}");
    let octet = 10 + name.trim_start_matches('n').parse::<u8>().expect("a number");
    assert_eq!(value["conn_url"], format!("postgres://10.77.0.{octet}:5432/postgres"));
    assert_eq!(value["api_url"], format!("http://10.77.0.{octet}:8008/patroni"));
    assert_eq!(value["state"], "running");
    assert_eq!(value["role"], if leads { "primary" } else { "replica" });
    assert_eq!(value["version"], "4.1.5");
    assert_eq!(value["timeline"], 1);
    assert!(value["xlog_location"].is_u64());
    assert_eq!(value.get("replication_state"), (!leads).then(|| json!("streaming")).as_ref());
    let tags = (name == "n3").then(|| json!({"clonefrom": true, "rack": "r3"}));
    assert_eq!(value.get("tags"), tags.as_ref(), "false flags are not published");
}

fn servers_are_configured(herd: &Herd) {
    let leader = herd.wait_leader();
    let (leader_ip, _) = leader_address(&leader.name);
    for member in herd.members() {
        assert_eq!(member.sql_text("SHOW cluster_name"), "herd");
        assert_eq!(member.sql_text("SHOW max_connections"), "50", "set for the cluster");
        let source = "SELECT source FROM pg_settings WHERE name = 'max_connections'";
        assert_eq!(member.sql_text(source), "command line", "no file can override what the cluster agrees on");
        assert_eq!(member.sql_text("SHOW data_checksums"), "on", "initdb's options were heeded");
        let hba = "SELECT count(*) FROM pg_hba_file_rules WHERE user_name = '{replicator}'";
        assert_eq!(member.sql_text(hba), "1");
        // PostgreSQL 12 moved recovery parameters into postgresql.conf and `standby_mode` into a file's existence.
        let (mine, others) = match member.major_version() {
            12.. => ("standby.signal", "recovery.conf"),
            _ => ("recovery.conf", "standby.signal"),
        };
        assert!(!member.data_dir().join(others).exists());
        assert_eq!(member.data_dir().join(mine).exists(), member.name != leader.name);
    }
    for replica in herd.others(&leader.name) {
        let conninfo = recovery_parameter(replica, "primary_conninfo");
        for part in ["user=replicator", &format!("host={leader_ip}"), "port=5432", &replica.name] {
            assert!(conninfo.contains(part), "{part} in {conninfo}");
        }
        assert!(!conninfo.contains(PASSWORD), "the password belongs in the passfile: {conninfo}");
        assert_eq!(recovery_parameter(replica, "primary_slot_name"), replica.name);
        assert_eq!(recovery_parameter(replica, "recovery_target_timeline"), "latest");
    }
    let slots = leader.sql("SELECT slot_name, slot_type, active FROM pg_replication_slots ORDER BY 1");
    let wanted: Vec<_> = herd.others(&leader.name).iter().map(|m| m.name.clone()).collect();
    let found: Vec<String> = slots.iter().filter_map(|s| s[0].clone()).collect();
    assert_eq!(found, wanted, "a slot per standby, none for itself");
    assert!(slots.iter().all(|s| s[1].as_deref() == Some("physical") && s[2].as_deref() == Some("t")), "{slots:?}");
}

fn recovery_parameter(replica: &Member, name: &str) -> String {
    if replica.major_version() >= 12 {
        return replica.sql_text(&format!("SHOW {name}"));
    }
    let text = std::fs::read_to_string(replica.data_dir().join("recovery.conf")).expect("a standby's file");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in:\n{text}")).trim().trim_matches('\'').to_owned()
}

fn leader_address(name: &str) -> (String, u16) {
    (format!("10.77.0.1{}", name.trim_start_matches('n')), 5432)
}

fn users_may_do_what_they_must(herd: &Herd) {
    let leader = herd.wait_leader();
    let role = |name: &str| {
        let sql = format!("SELECT rolsuper, rolreplication, rolcanlogin FROM pg_roles WHERE rolname = '{name}'");
        leader.sql(&sql)[0].iter().flatten().cloned().collect::<Vec<_>>().join("")
    };
    assert_eq!((role("postgres"), role("replicator")), ("ttt".into(), "ftt".into()));
    let session = leader.client_session("jogi test").expect("the superuser's password was set");
    assert!(session.run("SELECT 1", START_WITHIN).is_ok());
    if leader.major_version() < 11 {
        // pg_rewind needs a superuser there, and no role is made for it.
        let count = leader.sql_text("SELECT count(*) FROM pg_roles WHERE rolname = 'rewinder'");
        assert_eq!(count, "0");
        return;
    }
    assert_eq!(role("rewinder"), "fft");
    for function in [
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    ] {
        let sql = format!("SELECT has_function_privilege('rewinder', '{function}', 'execute')");
        assert_eq!(leader.sql_text(&sql), "t", "pg_rewind needs {function}");
    }
}

fn rows_reach_every_member(herd: &Herd) {
    let leader = herd.wait_leader();
    leader.sql("CREATE TABLE t AS SELECT 42 AS x");
    for replica in herd.others(&leader.name) {
        wait::until("the row on a replica", START_WITHIN, || {
            replica.try_sql("SELECT x FROM t").is_ok_and(|rows| rows == [[Some("42".to_owned())]])
        });
        let refused = replica.try_sql("INSERT INTO t VALUES (1)").expect_err("a replica is read only");
        assert!(refused.is_read_only(), "{refused}");
    }
}

fn no_secret_is_shown(herd: &Herd) {
    for member in herd.members() {
        assert!(!member.log().contains(PASSWORD), "a password in the log of {}", member.name);
        for pid in member.processes() {
            let line = process::command_line(pid);
            assert!(!line.contains(PASSWORD), "a password in a command line: {line}");
        }
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn members_on_one_address_and_many_ports_are_a_cluster_too() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(2).on_loopback().start();
    let members = herd.ctl_ok(&["list", "-f", "json"]).json();
    let hosts: Vec<&str> = members.as_array().into_iter().flatten().filter_map(|m| m["Host"].as_str()).collect();
    assert_eq!(hosts.len(), 2);
    assert!(hosts.iter().all(|h| h.starts_with("127.0.0.1:")), "two members of one host show their ports: {hosts:?}");
}
