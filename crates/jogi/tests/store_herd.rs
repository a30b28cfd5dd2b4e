//! "No etcd on my machines": a herd on `jogi store`, of our agents and of real Patroni's.

mod common;

use std::time::Instant;

use jogi_testkit::herd::{CHANGE_WITHIN, Herd};
use jogi_testkit::patroni::Patroni;
use serde_json::json;

#[test]
fn a_herd_of_ours_lives_on_the_built_in_store() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.own_programs().built_in_store().start();
    let writers = herd.start_writers();
    let old = hands_over(&herd);
    let since = Instant::now();
    herd.member(&old).crash();
    let new = writers.wait_ack_by_other(&old, since, CHANGE_WITHIN);
    herd.member(&old).power_on();
    herd.member(&old).start_agent();
    herd.wait_healthy();

    // The store dies without a word and comes again: nobody else leads.
    herd.store().kill();
    herd.store().start();
    herd.wait_healthy();
    assert_eq!(herd.lock_holder(), Some(new));
    let ours = writers.finish();
    herd.assert_never_two(&ours, &old, since);
    assert!(herd.store().log().contains("the store is ready"), "{}", herd.store().log());
}

/// Patroni's agents use another part of the API than ours: plain puts, an unread watch, leases that are never given back.
#[test]
fn three_real_patronis_live_on_the_built_in_store() {
    let Some(spec) = common::spec() else { return };
    let Some(patroni) = Patroni::find() else { return };
    let quick = json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3});
    let herd = spec.dcs(quick).programs(patroni.agent(), patroni.ctl()).built_in_store().start();
    herd.wait_leader().sql("CREATE TABLE t AS SELECT 1 AS n");
    let old = hands_over(&herd);
    herd.member(&old).crash();
    let new = herd.wait_new_leader(&old);
    assert_eq!(new.sql_text("SELECT count(*) FROM t"), "1");
    herd.member(&old).power_on();
    herd.member(&old).start_agent();
    herd.wait_healthy();
    let list = herd.ctl_ok(&["list", "-f", "json"]).json();
    assert_eq!(list.as_array().map(Vec::len), Some(3), "{list}");
}

/// A switchover by request; returns who then leads.
fn hands_over(herd: &Herd) -> String {
    let from = herd.wait_leader().name.clone();
    let to = herd.others(&from)[0].name.clone();
    let reply = herd.member(&from).post("/switchover", &json!({"leader": from, "candidate": to}));
    assert_eq!(reply.body, format!("Successfully switched over to \"{to}\""));
    herd.wait_healthy();
    assert_eq!(herd.lock_holder().as_deref(), Some(to.as_str()));
    to
}
