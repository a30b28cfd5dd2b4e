//! "The agent's process dies under systemd, and my clients notice nothing": why the unit that we ship says
//! `KillMode=process`.
//!
//! When the main process of a service has ended, systemd deals with what is left of its control group as `KillMode` says
//! (systemd.kill(5)), then starts it again as `Restart` says. An agent's control group holds its guard and all of PostgreSQL,
//! whatever sessions they made for themselves: under the default each defect of an agent would be an outage of its server.
//! Here the test is the service manager: it reads the unit and does to real processes what systemd would.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member, START_WITHIN};
use jogi_testkit::process::{self, Signal};
use jogi_testkit::wait;
use serde_json::json;

/// The assignments of a unit file.
struct Unit(Vec<(String, String, String)>);

impl Unit {
    /// The unit that we ship.
    fn shipped() -> Unit {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/jogi.service");
        Unit::parse(&fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
    }

    fn parse(text: &str) -> Unit {
        let mut section = String::new();
        let mut found = Vec::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name.to_owned();
            } else {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no assignment"));
                found.push((section.clone(), key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Unit(found)
    }

    /// The value of a setting of the service, which stands there once.
    #[track_caller]
    fn service(&self, key: &str) -> &str {
        let values: Vec<&str> =
            self.0.iter().filter(|(s, k, _)| s == "Service" && k == key).map(|(_, _, v)| v.as_str()).collect();
        match values[..] {
            [value] => value,
            _ => panic!("{key} of the service: {values:?}"),
        }
    }
}

/// What systemd sends to the processes that the main process leaves behind.
fn signal_for_what_is_left(kill_mode: &str) -> Option<Signal> {
    match kill_mode {
        "process" | "none" => None,
        "control-group" => Some(Signal::TERM),
        "mixed" => Some(Signal::KILL),
        other => panic!("KillMode={other} is unknown"),
    }
}

/// The agent dies as by a defect of its own, and the service manager deals with the rest. Returns what was left.
#[track_caller]
fn main_process_dies(member: &Member, kill_mode: &str) -> BTreeSet<i32> {
    let agent = member.agent_pid();
    // By descent, as a control group counts: no session of its own leads out of it.
    let mut left = process::tree(agent);
    left.remove(&agent);
    member.kill_agent();
    if let Some(signal) = signal_for_what_is_left(kill_mode) {
        for pid in &left {
            process::send(*pid, signal);
        }
    }
    left
}

/// One member, with a lease so long that whatever happens here is no deadline of the guard.
fn lone_member() -> Option<Herd> {
    let spec = common::spec_on_loopback()?.members(1);
    spec.promises("a guard").then(|| spec.dcs(json!({"ttl": 20, "loop_wait": 5, "retry_timeout": 5})).start())
}

#[test]
fn an_agent_that_dies_under_the_shipped_unit_costs_its_clients_nothing() {
    let unit = Unit::shipped();
    let Some(herd) = lone_member() else { return };
    let (leader, revision) = (herd.wait_leader(), herd.store().revision());
    let kept = herd.keep_session(leader);
    let postmaster = leader.postmaster_pid();
    let started = process::start_time(postmaster);
    let guard = process::parent(postmaster).expect("a parent");
    assert!(process::command_line(guard).contains("guard"), "{}", process::command_line(guard));

    let left = main_process_dies(leader, unit.service("KillMode"));
    assert!(left.contains(&guard) && left.contains(&postmaster), "both belong to the service: {left:?}");
    assert!(process::alive(guard) && leader.postmaster() == Some(postmaster), "both outlive the agent");
    kept.wait_rows(50, CHANGE_WITHIN);

    // Killed by a signal is a failure: systemd starts the agent again.
    assert_eq!(unit.service("Restart"), "on-failure");
    leader.start_agent();
    wait::until("the new agent leads", CHANGE_WITHIN, || leader.is_primary());
    assert_eq!((leader.postmaster(), process::start_time(postmaster)), (Some(postmaster), started));
    assert_eq!(process::parent(postmaster), Some(guard));
    kept.wait_rows(50, CHANGE_WITHIN);
    assert_eq!(kept.ended(), None, "a client's session goes on");
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
}

/// The same death under systemd's default: PostgreSQL is gone before the new agent is there.
#[test]
fn with_systemds_default_the_death_of_an_agent_would_be_the_death_of_its_postgresql() {
    let Some(herd) = lone_member() else { return };
    let leader = herd.wait_leader();
    let kept = herd.keep_session(leader);
    let (postmaster, mark) = (leader.postmaster_pid(), leader.log_mark());

    let left = main_process_dies(leader, "control-group");
    assert!(left.contains(&postmaster));
    wait::until("PostgreSQL is gone", CHANGE_WITHIN, || leader.server_processes().is_empty());
    leader.wait_log(mark, "received smart shutdown request", CHANGE_WITHIN);
    kept.wait_end(CHANGE_WITHIN);
    leader.start_agent();
    let leads = || leader.is_primary() && leader.is_writable();
    wait::until("the new agent has started another server and leads", START_WITHIN, leads);
    assert_ne!(leader.postmaster_pid(), postmaster);
}

/// What else the unit relies on: the agent says when it is up (`Type=notify`), reloads at SIGHUP (`ExecReload`), and ends with
/// code 0 at SIGTERM, so that a stop is no failure that would start it again.
#[test]
fn the_agent_keeps_what_the_shipped_unit_says_of_it() {
    let unit = Unit::shipped();
    let words: Vec<&str> = unit.service("ExecStart").split(' ').collect();
    assert_eq!(words, ["/usr/bin/jogi", "agent", "/etc/jogi/jogi.yml"], "as the agents of these tests are started");
    for (key, value) in [
        ("Type", "notify"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("TimeoutStopSec", "infinity"),
        ("User", "postgres"),
    ] {
        assert_eq!(unit.service(key), value, "{key}");
    }
    let Some(spec) = common::spec_on_loopback() else { return };
    let herd = spec.members(1).build();
    let leader = herd.member("n1");
    let path = herd.workdir().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket for notifications");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("open to PostgreSQL's user");
    let told = |what: &str| {
        socket.set_nonblocking(true).expect("a setting");
        wait::until(&format!("{what} is notified"), START_WITHIN, || {
            let mut buffer = [0; 256];
            socket.recv(&mut buffer).is_ok_and(|n| String::from_utf8_lossy(&buffer[..n]).lines().any(|l| l == what))
        });
    };
    leader.start_agent_with(&[("NOTIFY_SOCKET", &path.display().to_string())]);
    told("READY=1");
    wait::until("it leads", START_WITHIN, || leader.is_primary());
    let environment = fs::read(format!("/proc/{}/environ", leader.postmaster_pid())).expect("the server's environment");
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"), "only the main process may notify");
    leader.signal_agent(Signal::HUP);
    told("RELOADING=1");
    told("READY=1");
    leader.signal_agent(Signal::TERM);
    told("STOPPING=1");
    assert_eq!(leader.agent_exit(CHANGE_WITHIN).code(), Some(0));
    assert!(leader.server_processes().is_empty(), "a stop of the service stops PostgreSQL, in order");
    assert_eq!(leader.control("Database cluster state"), "shut down");
}
