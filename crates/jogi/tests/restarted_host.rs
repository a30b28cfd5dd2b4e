//! "The old primary's machine came back, and its PostgreSQL starts by itself": found writable without the lock it is closed at once,
//! and follows. (Elsewhere it stayed up: two primaries.)

mod common;

use std::path::Path;

use jogi_testkit::herd::{CHANGE_WITHIN, HerdSpec};
use jogi_testkit::wait;

/// Crashes the primary, lets another lead, brings the old server up by hand as the primary it was, then its agent. Whether
/// the old server was closed.
fn old_primary_comes_up_by_itself(spec: HerdSpec) -> bool {
    let herd = spec.start();
    let old = herd.wait_leader();
    old.sql("CREATE TABLE flock (x text)");
    herd.wait_replayed(old);
    old.crash();
    let new = herd.wait_new_leader(&old.name);
    new.sql("INSERT INTO flock VALUES ('kept')");
    old.power_on();
    old.start_server_by_hand();
    assert!(old.is_writable(), "an init script brings it up as it went down");
    old.sql("INSERT INTO flock VALUES ('stray')");
    let (stray, revision) = (old.postmaster_pid(), herd.store().revision());

    old.start_agent();
    if wait::poll(CHANGE_WITHIN, || (old.postmaster() != Some(stray) && !old.is_writable()).then_some(())).is_none() {
        return false;
    }
    herd.wait_healthy();
    let holders = herd.values_after(revision, "leader");
    assert!(holders.iter().all(|h| h.as_ref() == Some(&new.name)), "the lock went {holders:?}");
    for member in herd.members() {
        wait::until("one truth everywhere", CHANGE_WITHIN, || {
            member.try_sql("SELECT x FROM flock").is_ok_and(|rows| rows == [[Some("kept".to_owned())]])
        });
    }
    true
}

#[test]
fn an_old_primary_that_starts_by_itself_is_closed_and_follows() {
    let Some(spec) = common::spec() else { return };
    assert!(old_primary_comes_up_by_itself(spec), "it stayed writable beside the new primary");
}

#[test]
#[ignore = "shows the harm when a stray primary is let be: scripts/proof.sh red"]
fn red_it_stays_when_nobody_closes_it() {
    let Some(spec) = common::spec().and_then(|s| s.weakened("keep-unleased")) else { return };
    assert!(!old_primary_comes_up_by_itself(spec), "no harm was done without the protection");
}

#[test]
fn a_server_without_a_lease_is_closed_even_while_the_store_is_silent() {
    let Some(spec) = common::spec() else { return };
    let herd = spec.members(1).start();
    let member = herd.wait_leader();
    let (before, ttl) = (member.postmaster_pid(), herd.ttl());
    member.crash();
    member.power_on();
    wait::until("its processes are reaped", CHANGE_WITHIN, || !Path::new(&format!("/proc/{before}")).exists());
    member.start_server_by_hand();
    let stray = member.postmaster_pid();
    herd.store().freeze();
    member.start_agent();
    wait::until("it was closed without a word of the store", CHANGE_WITHIN, || member.postmaster() != Some(stray));
    wait::stays("it stays closed", ttl, || !member.is_writable());
    herd.store().thaw();
    wait::until("it leads again with the store", CHANGE_WITHIN, || member.is_writable());
}
