//! "The store is gone": the primary closes before its lease can have run out elsewhere, and comes back with the store. Whether the
//! store hangs, refuses, or answers with errors that nobody listed is all the same.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Store};
use jogi_testkit::wait;

#[test]
fn without_its_store_the_primary_closes_in_time_and_comes_back_with_it() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    a_short_hiccup_is_nothing(&herd);
    lose(&herd, "hangs", Store::freeze, Store::thaw);
    lose(&herd, "is dead", Store::kill, Store::start);
}

fn a_short_hiccup_is_nothing(herd: &Herd) {
    let leader = herd.wait_leader();
    let (postmaster, kept) = (leader.postmaster_pid(), herd.keep_session(leader));
    herd.store().freeze();
    wait::stays("the primary serves", Duration::from_secs(1), || leader.is_writable());
    herd.store().thaw();
    wait::stays("the primary serves", Duration::from_secs(4), || leader.is_writable());
    kept.wait_rows(50, CHANGE_WITHIN);
    assert_eq!((leader.postmaster(), kept.ended()), (Some(postmaster), None));
}

fn lose(herd: &Herd, what: &str, take: impl Fn(&Store), give: impl Fn(&Store)) {
    herd.wait_healthy();
    let writers = herd.start_writers();
    let (leader, identity) = (herd.wait_leader(), herd.key("initialize"));
    let ttl = herd.ttl();
    take(herd.store());
    // The last renewal was before this: nobody's lease can have run out earlier than a ttl after it.
    let gone = Instant::now();
    wait::until(&format!("the primary closed while the store {what}"), CHANGE_WITHIN, || !leader.is_writable());
    let last = writers.journal().last_of(&leader.name).expect("it took writes before");
    assert!(last <= gone + ttl, "a write was acknowledged {:?} after the store went, ttl {ttl:?}", last - gone);
    wait::until("no member says that it leads", CHANGE_WITHIN, || herd.leader().is_none());
    let quiet = Duration::from_secs(3);
    wait::stays("nobody takes writes", quiet, || herd.members().iter().all(|m| !m.is_writable()));

    give(herd.store());
    let back = Instant::now();
    wait::until("writes again", CHANGE_WITHIN, || !writers.journal().since(back).is_empty());
    herd.wait_healthy();
    assert_eq!(herd.key("initialize"), identity);
    herd.assert_nothing_lost(&writers.finish());
}
