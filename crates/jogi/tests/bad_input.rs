//! "I made a mistake": each gets a clear sentence and, where going on makes no sense, an exit code; and never a changed or removed
//! data directory.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member, START_WITHIN};
use jogi_testkit::{process, wait};
use serde_json::json;

/// Starts the agent, waits for its end, checks that it failed, and returns what it said.
#[track_caller]
fn fails_to_start(member: &Member) -> String {
    let mark = member.log_mark();
    member.start_agent();
    let exit = member.agent_exit(CHANGE_WITHIN);
    let said = member.log_since(mark);
    assert!(exit.code().is_some_and(|c| c != 0), "it ended with {exit} and said:\n{said}");
    assert!(!said.contains("panicked at"), "a mistake of the user is no panic:\n{said}");
    said
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_line_and_column() {
    let Some(spec) = common::spec() else { return };
    let promised = spec.promises("a good sentence for every mistake in the file");
    let herd = spec.members(1).build();
    let member = herd.member("n1");
    let good = member.read_config();

    member.write_config_text("scope: herd\nname: n1\nrestapi: [1, 2\npostgresql:\n  listen: x\n");
    let said = fails_to_start(member);
    if promised {
        says(&said, &["agent.yml", "line 4", "column"]);
    }
    fs::remove_file(member.config_path()).expect("removed");
    let said = fails_to_start(member);
    if promised {
        says(&said, &["agent.yml", "No such file"]);
    }
    if !promised {
        return;
    }
    member.write_config_text("scope: herd\nname: n1\n");
    says(&fails_to_start(member), &["postgresql"]);
    let mut config = good.clone();
    config["postgresql"]["listen"] = json!("nonsense:port");
    member.write_config(&config);
    says(&fails_to_start(member), &["postgresql.listen", "nonsense:port"]);
    let mut config = good.clone();
    config["postgresql"]["bin_dir"] = json!("/nowhere/bin");
    member.write_config(&config);
    says(&fails_to_start(member), &["/nowhere/bin"]);
    assert!(!member.data_dir().exists(), "nothing was made");
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("unknown keys are named") {
        return;
    }
    let herd = spec.members(1).config(json!({"postgresql": {"paramaters": {"work_mem": "5MB"}}})).start();
    says(&herd.member("n1").log(), &["paramaters", "parameters"]);
}

#[test]
fn a_port_in_use_or_a_forbidden_directory_ends_the_start() {
    let Some(spec) = common::spec() else { return };
    let promised = spec.promises("a good sentence for every mistake of the machine");
    let herd = spec.members(2).build();
    let member = herd.member("n1");
    let listener = member.run(|| TcpListener::bind("0.0.0.0:8008")).expect("the port is free before");
    let said = fails_to_start(member);
    says(&said, &["8008"]);
    drop(listener);
    if !promised {
        return;
    }
    let other = herd.member("n2");
    let forbidden = herd.workdir().join("forbidden");
    fs::create_dir(&forbidden).expect("a directory");
    fs::set_permissions(&forbidden, fs::Permissions::from_mode(0o555)).expect("nobody but root may write");
    other.change_config(json!({"postgresql": {"data_dir": forbidden.join("data")}}));
    let said = fails_to_start(other);
    says(&said, &["forbidden", "ermission"]);
    assert_eq!(fs::read_dir(&forbidden).expect("readable").count(), 0);
}

/// Somebody else has PostgreSQL's port: it is named, the data stay, and the server starts when the port is free.
#[test]
fn a_port_of_postgresql_in_use_is_named_and_costs_no_data() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(1).start();
    let member = herd.member("n1");
    let identity = member.data_directory_identity();
    member.kill_agent_tree();
    wait::until("PostgreSQL has ended too", CHANGE_WITHIN, || member.server_processes().is_empty());
    let listener = member.run(|| TcpListener::bind("0.0.0.0:5432")).expect("the port is free now");
    let mark = member.log_mark();
    member.start_agent();
    member.wait_log(mark, "could not bind IPv4 address \"0.0.0.0\": Address already in use", CHANGE_WITHIN);
    member.wait_log(mark, "5432", CHANGE_WITHIN);
    assert!(member.agent_runs(), "who has the port may soon be gone: it is tried again");
    drop(listener);
    wait::until("it leads again", START_WITHIN, || member.is_primary());
    assert_eq!(member.data_directory_identity(), identity);
}

#[test]
fn a_postgresql_too_old_is_refused() {
    let Some(spec) = common::spec() else { return };
    if !spec.promises("old servers are refused") {
        return;
    }
    let herd = spec.members(1).build();
    let member = herd.member("n1");
    let bin = herd.workdir().join("bin");
    fs::create_dir(&bin).expect("a directory");
    for program in ["postgres", "pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind", "pg_isready"] {
        let file = bin.join(program);
        fs::write(&file, format!("#!/bin/sh\necho '{program} (PostgreSQL) 9.2.24'\n")).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    member.change_config(json!({"postgresql": {"bin_dir": bin}}));
    says(&fails_to_start(member), &["9.2.24"]);
    assert!(!member.data_dir().exists());
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let Some(spec) = common::spec() else { return };
    let promised = spec.promises("one agent per data directory");
    let herd = spec.members(2).build();
    let first = herd.member("n1");
    first.start_agent();
    wait::until("the first leads", START_WITHIN, || first.is_primary());
    let postmaster = first.postmaster_pid();

    let twin = herd.member("n2");
    twin.change_config(json!({"name": "n1"}));
    let said = fails_to_start(twin);
    says(&said, &["Can't start; there is already a node named 'n1' running"]);
    assert!(!twin.data_dir().exists(), "nothing was made");

    if promised {
        let mut config = first.read_config();
        config["name"] = json!("n9");
        config["restapi"] = json!({"listen": "0.0.0.0:8009", "connect_address": "10.77.0.11:8009"});
        let (file, log) = (first.dir().join("second.yml"), first.dir().join("second.log"));
        fs::write(&file, config.to_string()).expect("written");
        first.give_to_postgres(&file);
        let mut second = first.start_other_agent(&file, &log);
        let exit = wait::value("the second agent's end", CHANGE_WITHIN, || second.try_wait().ok().flatten());
        let said = fs::read_to_string(&log).unwrap_or_default();
        assert!(!exit.success(), "{said}");
        says(&said, &[&first.data_dir().display().to_string()]);
    }
    assert!(first.is_primary());
    assert_eq!(first.postmaster(), Some(postmaster));
    assert_eq!(herd.lock_holder().as_deref(), Some("n1"));
}

#[test]
fn data_of_another_cluster_are_refused_and_left_alone() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(2).build();
    let (first, stranger) = (herd.member("n1"), herd.member("n2"));
    first.start_agent();
    wait::until("the first leads", START_WITHIN, || first.is_primary());
    let data = stranger.data_dir();
    stranger.server_program("initdb", &["-D", &data.display().to_string(), "-U", "postgres", "-k"]);
    let (before, foreign) = (contents(&data), stranger.system_identifier());
    let identity = herd.key("initialize").expect("an identity");
    let said = fails_to_start(stranger);
    says(&said, &["belongs to a", "cluster", &identity, &foreign]);
    assert_eq!(contents(&data), before, "not a file was touched");
    assert_eq!(herd.key("initialize"), Some(identity));
}

/// Every file below a directory with its size and time.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("readable").flatten() {
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() {
                todo.push(entry.path());
            } else {
                found.insert(entry.path(), (meta.len(), meta.modified().expect("a time")));
            }
        }
    }
    found
}

#[test]
fn a_wrong_replication_password_is_said_and_mended_without_harm() {
    let Some(spec) = common::spec() else { return };
    let wrong = json!({"postgresql": {"authentication": {"replication": {"password": "no-such-password"}}}});
    let herd = spec.members(2).member_config("n2", wrong).build();
    let (leader, replica) = (herd.member("n1"), herd.member("n2"));
    leader.start_agent();
    wait::until("the first leads", START_WITHIN, || leader.is_primary());
    replica.start_agent();
    wait::until("it is said", CHANGE_WITHIN, || replica.log().contains("password authentication failed"));
    assert!(!replica.is_replica());
    assert!(!replica.log().contains("no-such-password"), "a password is never shown, a wrong one neither");
    assert!(leader.is_primary());
    mend_and_join(&herd, replica);
}

fn mend_and_join(herd: &Herd, replica: &Member) {
    replica.kill_agent_tree();
    replica.change_config(json!({
        "postgresql": {"authentication": {"replication": {"password": jogi_testkit::herd::PASSWORD}}},
    }));
    replica.start_agent();
    herd.wait_healthy();
}

/// The old primary has WAL of its own and cannot be rewound: its data stay as they are until the password is right.
#[test]
fn a_wrong_rewind_password_is_said_and_costs_no_data() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(2).start();
    let old = herd.member("n1");
    old.sql("CREATE TABLE branch (x text)");
    herd.wait_replayed(old);
    for sender in old.walsenders() {
        process::freeze(sender);
    }
    old.sql("INSERT INTO branch VALUES ('seen by nobody')");
    let (identity, mark) = (old.data_directory_identity(), old.log_mark());
    old.crash();
    let new = herd.wait_new_leader("n1");
    new.sql("INSERT INTO branch VALUES ('kept')");
    old.power_on();
    old.change_config(json!({"postgresql": {"authentication": {"rewind": {"password": "no-such-password"}}}}));
    old.start_agent();
    old.wait_log(mark, "password authentication failed for user \"rewinder\"", CHANGE_WITHIN);
    assert!(!old.is_replica() && new.is_primary());
    assert!(!old.log().contains("no-such-password"), "a password is never shown, a wrong one neither");
    assert_eq!(old.data_directory_identity(), identity, "nothing was removed");
    old.kill_agent_tree();
    old.change_config(json!({
        "postgresql": {"authentication": {"rewind": {"password": jogi_testkit::herd::PASSWORD}}},
    }));
    old.start_agent();
    herd.wait_healthy();
    assert_eq!(old.data_directory_identity(), identity, "rewound in place");
    assert_eq!(old.sql_text("SELECT string_agg(x, ',') FROM branch"), "kept");
}

/// What Patroni's daemon starts with, ours starts with: a warning says what is odd.
#[test]
fn a_short_ttl_and_a_loopback_address_are_warnings() {
    let Some(spec) = common::spec_on_loopback() else { return };
    let promised = spec.promises("odd settings are named");
    let herd = spec.members(1).start();
    if promised {
        let said = herd.member("n1").log();
        says(&said, &["WARNING", "bootstrap.dcs.ttl is 5", "members that run Patroni will use 20"]);
        says(&said, &["restapi.connect_address is 127.0.0.1", "postgresql.connect_address is 127.0.0.1"]);
    }
}

#[test]
fn a_store_that_is_down_at_the_start_is_waited_for() {
    let Some(spec) = common::spec() else { return };
    let promised = spec.promises("it is said once that the store is awaited");
    let herd = spec.members(1).build();
    let member = herd.member("n1");
    herd.store().kill();
    member.start_agent();
    if promised {
        let address = herd.store().front().to_string();
        wait::until("the wait is said", CHANGE_WITHIN, || member.log().contains(&address));
    }
    // Once, then at intervals that grow: in this time an agent that repeats itself with each try says it tens of times.
    let within = std::time::Duration::from_secs(10);
    wait::stays("the agent waits", within, || member.agent_runs());
    if promised {
        let address = herd.store().front().to_string();
        let log = member.log();
        let said: Vec<&str> = log.lines().filter(|l| l.contains(&address)).collect();
        assert!((1..=4).contains(&said.len()), "said {} times in {within:?}:\n{log}", said.len());
    }
    assert!(!member.data_dir().join("PG_VERSION").exists(), "nothing is made on one's own");
    herd.store().start();
    wait::until("it leads", START_WITHIN, || member.is_primary());
}
