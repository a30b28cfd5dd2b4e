//! "The store is gone": the primary closes before its lease can have run out elsewhere, and comes back with the store. Whether the
//! store hangs, refuses, or answers with errors that nobody listed is all the same.

mod common;

use std::time::{Duration, Instant};

use jogi_testkit::herd::{CHANGE_WITHIN, Front, Herd, Manner, Store};
use jogi_testkit::wait;

#[test]
fn without_its_store_the_primary_closes_in_time_and_comes_back_with_it() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.start();
    a_short_hiccup_is_nothing(&herd);
    lose(&herd, "hangs", Store::freeze, Store::thaw);
    lose(&herd, "is dead", Store::kill, Store::start);
}

/// A store that lost its own leader answers, and with what depends on its version. Elsewhere an error that nobody had
/// listed was taken for another thing than a lost store.
#[test]
fn a_store_that_answers_with_any_error_is_a_lost_store() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.store_front().build();
    let front = Front::before(herd.store());
    herd.start();
    for (status, body) in [
        (503, r#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#),
        (500, r#"{"error":"etcdserver: an error of tomorrow","message":"an error of tomorrow","code":99}"#),
        (200, r#"{"surprise":true}"#),
        (418, "short and stout"),
    ] {
        let what = format!("answers {status} {body}");
        let answer = Manner::Answer { status, body: body.to_owned() };
        lose(&herd, &what, |_| front.behave(answer.clone()), |_| front.behave(Manner::Honest));
    }
    lose(&herd, "hears and says nothing", |_| front.behave(Manner::Mute), |_| front.behave(Manner::Honest));
    let slow = Manner::Slow(herd.ttl() * 2);
    lose(&herd, "answers too late", |_| front.behave(slow.clone()), |_| front.behave(Manner::Honest));
}

/// Members that are all there and agree, and a store that is slow but within its time.
#[test]
fn a_slow_store_costs_nobody_the_lead() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.store_front().build();
    let front = Front::before(herd.store());
    herd.start();
    let (leader, revision) = (herd.wait_leader(), herd.store().revision());
    let kept = herd.keep_session(leader);
    front.behave(Manner::Slow(Duration::from_millis(150)));
    wait::stays("the primary serves", herd.ttl() + Duration::from_secs(3), || leader.is_writable());
    front.behave(Manner::Honest);
    herd.wait_healthy();
    assert_eq!(kept.ended(), None);
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&leader.name)), "the lock went {holders:?}");
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

#[test]
#[ignore = "shows the harm when an error counts as a renewal: scripts/proof.sh red"]
fn red_the_primary_outlives_its_lease_when_errors_count() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("count-errors")) else { return };
    let herd = spec.store_front().build();
    let front = Front::before(herd.store());
    herd.start();
    let leader = herd.wait_leader();
    front.behave(Manner::Answer { status: 503, body: r#"{"error":"etcdserver: no leader","code":14}"#.to_owned() });
    let longer = herd.ttl() + Duration::from_secs(5);
    wait::stays("the primary is open without a lease", longer, || leader.is_writable());
}
