//! "My second site has both of them": a standby cluster of one of ours and one of Patroni's, below a site of Patroni's.

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member, START_WITHIN};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::wait;
use serde_json::{Value, json};

use crate::common;

#[test]
fn both_lead_a_standby_cluster_below_patronis() {
    let Some((first, second)) = sites() else { return };
    first.member("n1").sql("CREATE TABLE t (n int)");
    let mut rows = 0;
    second.member("n1").start_agent();
    wait::until("ours leads the standby cluster", START_WITHIN, || leads(second.member("n1")));
    second.member("n2").start_agent();
    wait::until("Patroni's follows it", START_WITHIN, || second.member("n2").is_replica());
    assert!(second.member("n2").status().get("jogi").is_none() && first.member("n1").status().get("jogi").is_none());
    rows_arrive(&first, &second, &mut rows);
    for (from, to) in [("n1", "n2"), ("n2", "n1")] {
        let reply = second.member(from).post("/switchover", &json!({"leader": from, "candidate": to}));
        assert_eq!(reply.body, format!("Successfully switched over to \"{to}\""), "{from} to {to}");
        wait::until(&format!("{to} leads and {from} follows"), CHANGE_WITHIN, || {
            leads(second.member(to)) && second.member(from).is_replica()
        });
        rows_arrive(&first, &second, &mut rows);
    }
    the_leader_dies(&second);
    rows_arrive(&first, &second, &mut rows);
    it_stands_alone_and_comes_back(&first, &second);
    rows_arrive(&first, &second, &mut rows);
}

fn sites() -> Option<(Herd, Herd)> {
    let dcs = json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3});
    let spec = common::spec_on_loopback()?.own_programs().dcs(dcs);
    let patroni = Patroni::find()?;
    let first = spec.clone().members(1).member_agent("n1", patroni.agent()).start();
    let second = spec.members(2).member_agent("n2", patroni.agent());
    let second = second.dcs(json!({"standby_cluster": section(first.member("n1"))})).build();
    Some((first, second))
}

fn section(of: &Member) -> Value {
    let config = of.read_config();
    let address = config["postgresql"]["connect_address"].as_str().expect("an address").to_owned();
    let (host, port) = address.rsplit_once(':').expect("a port");
    json!({"host": host, "port": port})
}

fn leads(member: &Member) -> bool {
    member.get("/standby-leader").status == 200
}

fn rows_arrive(first: &Herd, second: &Herd, rows: &mut u32) {
    *rows += 1;
    first.member("n1").sql(&format!("INSERT INTO t VALUES ({rows})"));
    for member in second.members() {
        wait::until(&format!("row {rows} on {}", member.name), CHANGE_WITHIN, || {
            member.try_sql(&format!("SELECT 1 FROM t WHERE n = {rows}")).is_ok_and(|found| !found.is_empty())
        });
    }
}

/// Ours dies: Patroni's follows the first site until it is back.
fn the_leader_dies(second: &Herd) {
    second.member("n1").kill_agent_tree();
    second.member("n1").kill_postmaster();
    wait::until("Patroni's leads", CHANGE_WITHIN, || leads(second.member("n2")));
    second.member("n1").start_agent();
    wait::until("ours follows", CHANGE_WITHIN, || second.member("n1").is_replica());
}

/// Promoted under Patroni's leader, demoted again, with rows on both sites in between.
fn it_stands_alone_and_comes_back(first: &Herd, second: &Herd) {
    let alone = json!({"standby_cluster": null});
    assert_eq!(second.member("n2").patch("/config", &alone).status, 200);
    let primary = second.wait_leader();
    wait::until("it is writable", CHANGE_WITHIN, || primary.is_writable());
    second.wait_healthy();
    primary.sql("INSERT INTO t VALUES (-1)");
    first.member("n1").sql("INSERT INTO t VALUES (-2)");
    let again = json!({"standby_cluster": section(first.member("n1"))});
    assert_eq!(second.member("n1").patch("/config", &again).status, 200);
    wait::until("a standby leader", CHANGE_WITHIN, || second.members().iter().any(leads));
    for member in second.members() {
        let rows = "SELECT string_agg(n::text, ',') FROM t WHERE n < 0";
        wait::until(&format!("only the first site's on {}", member.name), CHANGE_WITHIN, || {
            member.try_sql(rows).is_ok_and(|found| found == [[Some("-2".to_owned())]])
        });
    }
}
