//! "I change a setting": in a member's file with SIGHUP, for the whole cluster with `edit-config`, and the restarts it needs.

mod common;

use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::process::{self, Signal};
use jogi_testkit::wait;
use serde_json::{Value, json};

#[test]
fn settings_change_without_a_restart_where_they_can_and_with_one_where_they_must() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    let revision = herd.store().revision();
    let leader = herd.wait_leader().name.clone();
    a_members_file_is_read_again_on_sighup(&herd);
    a_broken_file_changes_nothing(&herd);
    reload_is_asked_for_by_rest_and_tool(&herd);
    the_lease_follows_an_edited_ttl(&herd);
    a_parameter_that_needs_a_restart_is_pending_until_then(&herd);
    restarts_are_refused_or_done(&herd);
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader)), "no change moves the lock: {holders:?}");
    assert_eq!(herd.wait_leader().status()["timeline"], 1);
}

fn a_members_file_is_read_again_on_sighup(herd: &Herd) {
    let member = herd.wait_leader();
    let postmaster = member.postmaster_pid();
    let mut hba = member.read_config()["postgresql"]["pg_hba"].clone();
    hba.as_array_mut().expect("a list").insert(0, json!("host all all 192.0.2.0/24 reject"));
    member.change_config(json!({
        "postgresql": {"parameters": {"work_mem": "9MB"}, "pg_hba": hba}, "tags": {"zone": "a"},
    }));
    member.signal_agent(Signal::HUP);
    wait::until("the new work_mem", CHANGE_WITHIN, || member.sql_text("SHOW work_mem") == "9MB");
    let rules = "SELECT count(*) FROM pg_hba_file_rules WHERE address = '192.0.2.0'";
    wait::until("the new pg_hba line", CHANGE_WITHIN, || member.sql_text(rules) == "1");
    wait::until("the new tag in the store", CHANGE_WITHIN, || published(herd, member)["tags"] == json!({"zone": "a"}));
    assert_eq!(member.postmaster(), Some(postmaster));
    let others = herd.others(&member.name);
    assert!(others.iter().all(|m| m.sql_text("SHOW work_mem") == "4MB"), "it was this member's file alone");
}

fn published(herd: &Herd, member: &Member) -> Value {
    let text = herd.key(&format!("members/{}", member.name)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn a_broken_file_changes_nothing(herd: &Herd) {
    let member = herd.wait_leader();
    let (good, mark, agent) = (member.read_config(), member.log_mark(), member.agent_pid());
    member.write_config_text("scope: herd\nname: [n1\n");
    member.signal_agent(Signal::HUP);
    wait::until("the agent says so", CHANGE_WITHIN, || member.log_since(mark).contains("agent.yml"));
    wait::stays("the leader leads", Duration::from_secs(3), || member.is_primary());
    assert_eq!(member.sql_text("SHOW work_mem"), "9MB");
    assert!(process::alive(agent));
    member.write_config(&good);
    member.signal_agent(Signal::HUP);
}

fn reload_is_asked_for_by_rest_and_tool(herd: &Herd) {
    let reply = herd.member("n2").post("/reload", &json!({}));
    assert_eq!((reply.status, reply.body.as_str()), (202, "reload scheduled"));
    let out = herd.ctl_ok(&["reload", "herd", "n3", "--force"]);
    assert!(out.stdout.contains("Reload request received for member n3 and will be processed within"), "{out:?}");
}

fn the_lease_follows_an_edited_ttl(herd: &Herd) {
    let out = herd.ctl_ok(&["edit-config", "herd", "-s", "ttl=25", "--force"]);
    assert!(out.stdout.contains("+ttl: 25") && out.stdout.contains("Configuration changed"), "{out:?}");
    assert_eq!(herd.ttl(), Duration::from_secs(25));
    let lease = || herd.store().entry("/service/herd/leader").and_then(|e| herd.store().lease_ttl(e.lease));
    wait::until("the lock on a lease of the new ttl", CHANGE_WITHIN, || lease() == Some(25));
    let out = herd.ctl_ok(&["edit-config", "herd", "-s", "ttl=25", "--force"]);
    assert!(out.stdout.contains("Not changed"), "{out:?}");
    let shown = herd.ctl_ok(&["show-config", "herd"]);
    assert!(shown.stdout.lines().any(|l| l == "ttl: 25"), "{shown:?}");
    let shown: Vec<&str> = shown.stdout.lines().filter(|l| !l.is_empty() && !l.starts_with(' ')).collect();
    assert!(shown.is_sorted(), "keys are sorted: {shown:?}");
}

fn a_parameter_that_needs_a_restart_is_pending_until_then(herd: &Herd) {
    herd.ctl_ok(&["edit-config", "herd", "-p", "max_connections=60", "--force"]);
    let reason = json!({"max_connections": {"old_value": "50", "new_value": "60"}});
    for member in herd.members() {
        wait::until(&format!("{} waits for a restart", member.name), CHANGE_WITHIN, || {
            let published = published(herd, member);
            published["pending_restart"] == true && published["pending_restart_reason"] == reason
        });
        assert_eq!(member.sql_text("SHOW max_connections"), "50");
    }
    let list = herd.ctl_ok(&["list", "herd"]);
    assert!(
        list.stdout.contains("Pending restart reason") && list.stdout.contains("max_connections: 50->60"),
        "{list:?}"
    );
    // First those that must be able to carry what the primary will allow.
    for member in ["n2", "n3", "n1"] {
        let out = herd.ctl_ok(&["restart", "herd", member, "--force"]);
        assert!(out.stdout.contains(&format!("Success: restart on member {member}")), "{out:?}");
        wait::until("the new value", CHANGE_WITHIN, || {
            herd.member(member).try_sql("SHOW max_connections").is_ok_and(|r| r == [[Some("60".to_owned())]])
        });
    }
    herd.wait_healthy();
    let pending = || herd.members().iter().any(|m| published(herd, m).get("pending_restart").is_some());
    wait::until("nothing pending", CHANGE_WITHIN, || !pending());
}

fn restarts_are_refused_or_done(herd: &Herd) {
    let leader = herd.wait_leader();
    for (body, status, text) in [
        (json!({"role": "replica"}), 503, "restart conditions are not satisfied"),
        (json!({"restart_pending": true}), 503, "restart conditions are not satisfied"),
        (json!({"postgres_version": "9.5.0"}), 503, "restart conditions are not satisfied"),
        (json!({"role": "king"}), 400, "PostgreSQL role should be either primary, standby_leader, or replica"),
        (json!({"timeout": "-1"}), 400, "Timeout should be a positive number of seconds"),
        (json!({"colour": "red"}), 400, "Unknown filter for the scheduled restart: colour"),
    ] {
        let reply = leader.post("/restart", &body);
        assert_eq!((reply.status, reply.body.as_str()), (status, text), "POST /restart {body}");
    }
    for member in [herd.others(&leader.name)[0], leader] {
        let before = member.postmaster_pid();
        let reply = member.post("/restart", &json!({}));
        assert_eq!((reply.status, reply.body.as_str()), (200, "restarted successfully"), "{}", member.name);
        assert_ne!(member.postmaster_pid(), before);
    }
    herd.wait_healthy();
}
