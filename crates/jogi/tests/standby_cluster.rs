//! "A second site follows the first one": a herd as standby cluster of another, with failover within it, its promotion, and
//! its way back.

mod common;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member, START_WITHIN};
use jogi_testkit::wait;
use serde_json::{Value, json};

#[test]
fn a_second_site_follows_the_first_and_can_replace_it() {
    let Some((first, second)) = sites(2) else { return };
    first.member("n1").sql("CREATE TABLE t (who text)");
    start(&second);
    it_is_shown_as_a_standby_cluster(&second);
    rows_arrive(&first, &second, "first");
    the_slot_on_the_first_site_is_used(&first);
    the_lead_changes_within(&first, &second);
    it_is_promoted(&second);
    it_comes_back(&first, &second);
}

/// Sent to another cluster by mistake, a herd goes on as it was and says what is wrong.
#[test]
fn another_cluster_is_not_followed() {
    let Some((first, second)) = sites(1) else { return };
    second.member("n1").change_config(json!({"bootstrap": {"dcs": {"standby_cluster": null}}}));
    second.member("n1").start_agent();
    let leader = second.wait_leader();
    leader.sql("CREATE TABLE kept (n int)");
    let (host, port) = address(first.member("n1"));
    let section = json!({"standby_cluster": {"host": host, "port": port}});
    assert_eq!(leader.patch("/config", &section).status, 200);
    wait::until("what is wrong is said", CHANGE_WITHIN, || {
        leader.log().contains("it is another cluster and cannot be")
    });
    leader.sql("INSERT INTO kept VALUES (1)");
    assert_eq!(leader.patch("/config", &json!({"standby_cluster": null})).status, 200);
    wait::until("it is a primary as before", CHANGE_WITHIN, || leader.is_primary());
    assert_eq!(leader.sql_text("SELECT count(*) FROM kept"), "1");
}

/// A first site that runs, and a second one that is told to follow it and does not run yet.
fn sites(members: usize) -> Option<(Herd, Herd)> {
    let spec = common::spec_on_loopback()?;
    let slots = json!({"slots": {"second_site": {"type": "physical"}}});
    let first = spec.clone().members(1).dcs(slots).start();
    let (host, port) = address(first.member("n1"));
    let section = json!({"host": host, "port": port, "primary_slot_name": "second_site"});
    let second = spec.members(members).dcs(json!({"standby_cluster": section})).build();
    Some((first, second))
}

fn address(member: &Member) -> (String, u16) {
    let config = member.read_config();
    let address = config["postgresql"]["connect_address"].as_str().expect("an address").to_owned();
    let (host, port) = address.rsplit_once(':').expect("a port");
    (host.to_owned(), port.parse().expect("a number"))
}

fn start(second: &Herd) {
    second.member("n1").start_agent();
    wait::until("the standby leader", START_WITHIN, || leads(second.member("n1")));
    second.member("n2").start_agent();
    wait::until("a replica below it", START_WITHIN, || second.member("n2").is_replica());
}

fn leads(member: &Member) -> bool {
    member.get("/standby-leader").status == 200
}

fn standby_leader(herd: &Herd) -> &Member {
    wait::value("a standby leader", CHANGE_WITHIN, || herd.members().iter().find(|m| leads(m)))
}

fn role(herd: &Herd, name: &str) -> Value {
    let key = herd.key(&format!("members/{name}")).unwrap_or_default();
    serde_json::from_str::<Value>(&key).map(|key| key["role"].clone()).unwrap_or_default()
}

fn it_is_shown_as_a_standby_cluster(second: &Herd) {
    let (n1, n2) = (second.member("n1"), second.member("n2"));
    wait::until("the role in the key", CHANGE_WITHIN, || role(second, "n1") == "standby_leader");
    assert_eq!(role(second, "n2"), "replica");
    for (path, leader, replica) in [
        ("/standby_leader", 200, 503),
        ("/leader", 200, 503),
        ("/primary", 503, 503),
        ("/replica", 503, 200),
        ("/read-only", 200, 200),
    ] {
        assert_eq!((n1.get(path).status, n2.get(path).status), (leader, replica), "{path}");
    }
    assert_eq!((&n1.status()["role"], &n2.status()["role"]), (&json!("standby_leader"), &json!("replica")));
    let metric = |member: &Member| {
        let text = member.get("/metrics").body;
        text.lines().find(|line| line.starts_with("patroni_standby_leader{")).map(|line| line.ends_with(" 1"))
    };
    assert_eq!((metric(n1), metric(n2)), (Some(true), Some(false)));
    assert_eq!(n1.get("/cluster").json()["members"][0]["role"], "standby_leader");
    let list = second.ctl_ok(&["list", "herd"]).stdout;
    assert!(list.contains("| Standby Leader |"), "{list}");
    let topology = second.ctl_ok(&["topology", "herd"]).stdout;
    assert!(topology.contains("| n1     ") && topology.contains("| + n2   "), "{topology}");
}

/// Each member of the second site has what the first one writes.
fn rows_arrive(first: &Herd, second: &Herd, row: &str) {
    first.member("n1").sql(&format!("INSERT INTO t VALUES ('{row}')"));
    for member in second.members() {
        let there =
            || member.try_sql(&format!("SELECT 1 FROM t WHERE who = '{row}'")).is_ok_and(|rows| !rows.is_empty());
        wait::until(&format!("'{row}' on {}", member.name), CHANGE_WITHIN, there);
    }
}

fn the_slot_on_the_first_site_is_used(first: &Herd) {
    let senders = "SELECT application_name FROM pg_stat_replication";
    assert_eq!(first.member("n1").sql_text(senders), "n1", "only the standby leader streams from the first site");
    let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'second_site'";
    wait::until("the slot is used", CHANGE_WITHIN, || first.member("n1").sql_text(active) == "t");
}

/// By request, and by the death of whoever leads.
fn the_lead_changes_within(first: &Herd, second: &Herd) {
    let server = second.member("n1").postmaster_pid();
    let reply = second.member("n1").post("/switchover", &json!({"leader": "n1", "candidate": "n2"}));
    assert_eq!(reply.body, "Successfully switched over to \"n2\"");
    wait::until("n2 leads", CHANGE_WITHIN, || leads(second.member("n2")) && second.member("n1").is_replica());
    assert_eq!(second.member("n1").postmaster_pid(), server, "no server was stopped for it");
    rows_arrive(first, second, "after the switchover");
    the_slot_on_the_first_site_is_used_by(first, "n2");

    second.member("n2").kill_agent_tree();
    second.member("n2").kill_postmaster();
    wait::until("n1 leads", CHANGE_WITHIN, || leads(second.member("n1")));
    second.member("n2").start_agent();
    wait::until("n2 is back", CHANGE_WITHIN, || second.member("n2").is_replica());
    rows_arrive(first, second, "after the failover");
    the_slot_on_the_first_site_is_used_by(first, "n1");
}

fn the_slot_on_the_first_site_is_used_by(first: &Herd, name: &str) {
    let senders = "SELECT string_agg(application_name, ',') FROM pg_stat_replication";
    wait::until(&format!("only {name} streams from the first site"), CHANGE_WITHIN, || {
        first.member("n1").sql_text(senders) == name
    });
}

fn it_is_promoted(second: &Herd) {
    let out = second.ctl_ok(&["promote-cluster", "herd", "--force"]);
    assert!(out.stdout.contains("cluster is successfully promoted"), "{out:?}");
    let primary = second.wait_leader();
    primary.sql("INSERT INTO t VALUES ('second')");
    second.wait_healthy();
    let out = second.ctl(&["promote-cluster", "herd", "--force"]);
    assert!(out.stderr.contains("Cluster is already in the required state"), "{out:?}");
}

/// Both sites have written: what the second one wrote alone is given up, and said to be.
fn it_comes_back(first: &Herd, second: &Herd) {
    first.member("n1").sql("INSERT INTO t VALUES ('first alone')");
    let (host, port) = address(first.member("n1"));
    let old = second.wait_leader();
    let port = port.to_string();
    let slot = ["--primary-slot-name", "second_site"];
    let args = ["demote-cluster", "herd", "--host", &host, "--port", &port, slot[0], slot[1], "--force"];
    let out = second.ctl_ok(&args);
    assert!(out.stdout.contains("cluster is successfully demoted"), "{out:?}");
    assert!(old.log().contains("are given up"), "what is discarded is said");
    rows_arrive(first, second, "last");
    for member in second.members() {
        assert_eq!(member.sql_text("SELECT count(*) FROM t WHERE who = 'second'"), "0", "on {}", member.name);
        assert_eq!(member.sql_text("SELECT count(*) FROM t WHERE who = 'first alone'"), "1", "on {}", member.name);
    }
    assert!(leads(standby_leader(second)));
}
