//! The time of leases, which stands in the log alone.

use bytes::Bytes;
use jogi_kv::rpc::{LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest};
use jogi_kv::{Answer, Command, Operation, Refused, Store};

fn at(store: &mut Store, at: u64, operation: Operation) -> Result<Answer, Refused> {
    store.apply(&Command { at, operation })
}

fn grant(store: &mut Store, now: u64, id: i64, ttl: i64) -> i64 {
    match at(store, now, Operation::Grant(LeaseGrantRequest { id, ttl })) {
        Ok(Answer::Grant(answer)) => answer.ttl,
        other => panic!("{other:?}"),
    }
}

fn put(store: &mut Store, now: u64, key: &'static str, lease: i64) {
    let request = PutRequest { key: Bytes::from(key), lease, ..PutRequest::default() };
    at(store, now, Operation::Put(request)).expect("put");
}

fn expire(store: &mut Store, now: u64) -> Vec<i64> {
    match at(store, now, Operation::Expire) {
        Ok(Answer::Expired(ids)) => ids,
        other => panic!("{other:?}"),
    }
}

fn keep_alive(store: &mut Store, now: u64, id: i64) -> i64 {
    match at(store, now, Operation::KeepAlive(vec![id])) {
        Ok(Answer::KeepAlive(answers)) => answers[0].ttl,
        other => panic!("{other:?}"),
    }
}

fn is_there(store: &Store, key: &'static str) -> bool {
    let request = RangeRequest { key: Bytes::from(key), ..RangeRequest::default() };
    store.range(&request).expect("a range").count == 1
}

#[test]
fn a_lease_ends_at_its_time_and_takes_its_keys_along() {
    let mut store = Store::default();
    grant(&mut store, 1000, 7, 2);
    put(&mut store, 1500, "a", 7);
    put(&mut store, 1500, "b", 7);
    put(&mut store, 1600, "b", 0);
    assert_eq!(store.next_lease_deadline(), Some(3000));
    assert_eq!(expire(&mut store, 2999), []);
    let before = store.revision();
    assert_eq!(expire(&mut store, 3000), [7]);
    assert_eq!((is_there(&store, "a"), is_there(&store, "b"), store.revision()), (false, true, before + 1));
    assert_eq!(keep_alive(&mut store, 3001, 7), 0);
}

#[test]
fn a_keep_alive_counts_from_its_own_time() {
    let mut store = Store::default();
    grant(&mut store, 0, 7, 2);
    assert_eq!(keep_alive(&mut store, 1999, 7), 2);
    assert_eq!(expire(&mut store, 3998), []);
    assert_eq!(expire(&mut store, 3999), [7]);
}

/// A new leader counts on from the log, whose last entry may lie well behind the old leader's clock.
#[test]
fn a_leader_whose_clock_is_behind_shortens_no_lease() {
    let mut store = Store::default();
    grant(&mut store, 10_000, 7, 5);
    assert_eq!(keep_alive(&mut store, 12_000, 7), 5);
    assert_eq!(keep_alive(&mut store, 3_000, 7), 5);
    assert_eq!((store.clock(), store.next_lease_deadline()), (12_000, Some(17_000)));
    assert_eq!(expire(&mut store, 4_000), []);
}

#[test]
fn a_time_to_live_has_a_floor_and_tells_what_is_left() {
    let mut store = Store::default();
    assert_eq!(grant(&mut store, 0, 1, 0), 1);
    assert_eq!(grant(&mut store, 0, 2, -5), 1);
    assert_eq!(grant(&mut store, 0, 3, 30), 30);
    let request = LeaseTimeToLiveRequest { id: 3, keys: false };
    let answer = store.time_to_live(&request, 10_100);
    assert_eq!((answer.ttl, answer.granted_ttl), (19, 30));
    let gone = LeaseTimeToLiveRequest { id: 4, keys: false };
    assert_eq!(store.time_to_live(&gone, 0).ttl, -1);
}

#[test]
fn a_key_that_moves_to_another_lease_outlives_the_first() {
    let mut store = Store::default();
    grant(&mut store, 0, 1, 2);
    grant(&mut store, 0, 2, 10);
    put(&mut store, 0, "leader", 1);
    put(&mut store, 0, "leader", 2);
    assert_eq!(expire(&mut store, 2000), [1]);
    assert!(is_there(&store, "leader"));
    assert_eq!(expire(&mut store, 10_000), [2]);
    assert!(!is_there(&store, "leader"));
}
