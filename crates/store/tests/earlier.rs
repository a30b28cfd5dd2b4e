//! Data that an earlier version wrote are read by this one. A fixture stays as it is for ever; a new format gets a new one.

use std::path::Path;

use bytes::Bytes;
use jogi_kv::rpc::{LeaseTimeToLiveRequest, RangeRequest};
use jogi_store::data::{Data, State};

/// Killed after a snapshot and more writes: a lease, overwritten and deleted keys, a compaction, two terms.
#[test]
fn format_1_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data-of-format-1");
    for file in std::fs::read_dir(fixture).expect("the fixture").flatten() {
        std::fs::copy(file.path(), dir.path().join(file.file_name())).expect("copied");
    }
    let (data, State { store, term, snapshot_index }) = Data::open(dir.path(), "another").expect("readable");
    assert_eq!((data.identity.name.as_str(), data.identity.cluster_id), ("s1", 5_918_430_787_857_555_487));
    assert!(snapshot_index > 0 && data.log.next_index() > snapshot_index + 1, "a snapshot and entries after it");
    assert_eq!((term, store.revision(), store.compacted()), (3, 63, 4));

    let all = RangeRequest { key: zero(), range_end: zero(), ..RangeRequest::default() };
    let kvs = store.range(&all).expect("a range").kvs;
    let shown = kvs.iter().map(|kv| {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        format!(
            "{}={} version {} at {} lease {}",
            text(&kv.key),
            text(&kv.value),
            kv.version,
            kv.mod_revision,
            kv.lease
        )
    });
    let expected = [
        "key1=value60 version 52 at 62 lease 0",
        "key2=last version 5 at 63 lease 0",
        "leader=n1 version 1 at 14 lease 7",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    let before = RangeRequest { revision: 13, ..all };
    assert_eq!(store.range(&before).expect("history").count, 3);
    let lease = store.time_to_live(&LeaseTimeToLiveRequest { id: 7, keys: true }, store.clock());
    assert_eq!((lease.granted_ttl, lease.keys), (100_000, vec![Bytes::from("leader")]));
}

fn zero() -> Bytes {
    Bytes::from_static(&[0])
}
