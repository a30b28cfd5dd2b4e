//! "The store is gone, and we go on": failsafe mode on real servers. The primary writes on while every other member lets it, and
//! is closed when one of them cannot be asked.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::wait;
use serde_json::{Value, json};

/// The writers' own pauses and a busy machine: a change of the primary takes longer than this.
const UNINTERRUPTED: Duration = Duration::from_secs(3);

#[test]
fn without_its_store_the_primary_writes_on_while_every_member_lets_it() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.dcs(json!({"failsafe_mode": true})).start();
    everybody_is_named(&herd);
    the_store_is_lost_and_comes_back(&herd);
    a_member_cannot_be_asked(&herd);
}

fn everybody_is_named(herd: &Herd) {
    wait::until("the topology names every member", CHANGE_WITHIN, || {
        let named = herd.key("failsafe").and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let named = named.as_ref().and_then(Value::as_object);
        named.is_some_and(|named| {
            let is_named = |m: &Member| named.get(&m.status()["patroni"]["name"].as_str().unwrap_or("?").to_owned());
            named.len() == herd.members().len() && herd.members().iter().all(|m| is_named(m).is_some())
        })
    });
    for member in herd.members() {
        assert_eq!(member.get("/failsafe").status, 200, "{}", member.name);
    }
}

fn the_store_is_lost_and_comes_back(herd: &Herd) {
    let writers = herd.start_writers();
    let leader = herd.wait_leader();
    let (pid, identity) = (leader.postmaster_pid(), herd.key("initialize"));
    let (since, ttl) = (Instant::now(), herd.ttl());
    herd.store().kill();
    let long = ttl * 3;
    let mut last = Instant::now();
    let mut widest = Duration::ZERO;
    wait::stays("the primary writes on", long, || {
        let acks = writers.journal().since(last);
        if !acks.is_empty() {
            widest = widest.max(last.elapsed());
            last = Instant::now();
        }
        last.elapsed() < UNINTERRUPTED
    });
    eprintln!("without the store for {long:?}: the longest time between two looks that saw a write was {widest:?}");
    for member in herd.members() {
        let status = member.status();
        assert_eq!(status["failsafe_mode_is_active"], json!(true), "{}: {status}", member.name);
        assert!(member.get("/metrics").body.contains("patroni_failsafe_mode_is_active{"), "{}", member.name);
    }
    assert!(leader.is_primary(), "and says that it leads");
    assert_eq!(leader.get("/failsafe").status, 200, "the topology is known without the store");
    herd.store().start();
    herd.wait_healthy();
    assert_eq!(herd.lock_holder().as_deref(), Some(leader.name.as_str()), "no failover when the store is back");
    assert_eq!(leader.postmaster_pid(), pid, "the server was not touched");
    assert_eq!(herd.key("initialize"), identity);
    herd.assert_never_two(writers.journal(), &leader.name, since);
    herd.assert_nothing_lost(&writers.finish());
    wait::until("failsafe mode is over everywhere", ttl * 2, || {
        herd.members().iter().all(|m| m.status()["failsafe_mode_is_active"].is_null())
    });
}

fn a_member_cannot_be_asked(herd: &Herd) {
    let writers = herd.start_writers();
    let leader = herd.wait_leader();
    let (since, ttl) = (Instant::now(), herd.ttl());
    herd.store().kill();
    wait::until("the primary leads on promises", ttl, || leader.status()["failsafe_mode_is_active"] == json!(true));
    wait::stays("the primary writes", ttl, || leader.is_writable());
    let cut = herd.others(&leader.name)[0];
    cut.cut_from_peers();
    wait::until("the primary is closed", ttl + Duration::from_secs(2), || !leader.is_writable());
    wait::stays("nobody leads without the store", ttl, || herd.members().iter().all(|m| !m.is_writable()));
    cut.rejoin_peers();
    herd.store().start();
    herd.wait_healthy();
    herd.assert_never_two(writers.journal(), &leader.name, since);
    let lost = herd.lost_rows(&writers.finish());
    eprintln!("asynchronous replication: {lost} acknowledged rows were not sent when a member was cut off");
}
