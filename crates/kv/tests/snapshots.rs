//! Snapshots: the same state comes back, and nothing that is damaged does.

use bytes::Bytes;
use jogi_kv::rpc::{CompactionRequest, LeaseGrantRequest, PutRequest, WatchCreateRequest};
use jogi_kv::snapshot::SnapshotError;
use jogi_kv::{Command, Operation, Store, Watcher};

fn apply(store: &mut Store, at: u64, operation: Operation) {
    store.apply(&Command { at, operation }).expect("applied");
}

fn put(store: &mut Store, key: &str, bytes: usize, lease: i64) {
    let request =
        PutRequest { key: key.to_owned().into(), value: vec![b'x'; bytes].into(), lease, ..PutRequest::default() };
    apply(store, 5, Operation::Put(request));
}

fn store() -> Store {
    let mut store = Store::default();
    apply(&mut store, 1, Operation::Grant(LeaseGrantRequest { id: 4, ttl: 9 }));
    for n in 0..20 {
        put(&mut store, &format!("key{}", n % 7), n, if n % 3 == 0 { 4 } else { 0 });
    }
    apply(&mut store, 8, Operation::Compact(CompactionRequest { revision: 9, physical: false }));
    store
}

#[test]
fn the_state_comes_back_as_it_was() {
    let store = store();
    assert_eq!(Store::restore(&store.snapshot()), Ok(store));
}

#[test]
fn what_is_damaged_anywhere_is_refused() {
    let whole = store().snapshot();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        assert!(Store::restore(&damaged).is_err(), "byte {at}");
        assert!(Store::restore(&whole[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut newer = store().snapshot();
    newer[11] = 2;
    assert_eq!(Store::restore(&newer), Err(SnapshotError::Version(2)));
}

/// etcd cuts at what a message of gRPC may hold; all but the last part say that more follows.
#[test]
fn large_changes_come_in_fragments_where_that_is_asked_for() {
    let mut store = Store::default();
    (0..5).for_each(|n| put(&mut store, &format!("big{n}"), 500_000, 0));
    let request = |fragment| WatchCreateRequest {
        key: Bytes::from("big"),
        range_end: Bytes::from("bih"),
        start_revision: 2,
        fragment,
        ..WatchCreateRequest::default()
    };
    for fragment in [false, true] {
        let (mut watcher, created) = Watcher::create(&store, &request(fragment), 3);
        assert!(created.created && created.watch_id == 3);
        let mut messages = Vec::new();
        loop {
            let more = watcher.poll(&store);
            if more.is_empty() {
                break;
            }
            let last = more.len() - 1;
            assert!(more.iter().enumerate().all(|(n, m)| m.fragment == (fragment && n < last)), "{fragment}");
            messages.extend(more);
        }
        let told: Vec<i64> =
            messages.iter().flat_map(|m| &m.events).filter_map(|e| Some(e.kv.as_ref()?.mod_revision)).collect();
        assert_eq!(told, [2, 3, 4, 5, 6]);
        assert_eq!(watcher.progress(&store).map(|m| m.events.len()), Some(0));
    }
}
