//! `/metrics`: under etcd's names where etcd has the same figure, so that its dashboards and alerts work.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jogi_kv::rpc::RangeRequest;

use super::Api;

const FORMAT: &str = "text/plain; version=0.0.4";

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let zero = Bytes::from_static(&[0]);
    let everything = RangeRequest { key: zero.clone(), range_end: zero, count_only: true, ..RangeRequest::default() };
    let (keys, leases, revision, compacted, bytes) = {
        let store = api.node.store();
        let keys = store.range(&everything).map_or(0, |range| range.count);
        (keys, store.leases().leases.len(), store.revision(), store.compacted(), store.bytes())
    };
    let syncs = api.node.syncs();
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    add("etcd_server_has_leader", "gauge", "Whether there is a leader.", &1);
    add("etcd_server_is_leader", "gauge", "Whether it is this server.", &1);
    add("etcd_mvcc_db_total_size_in_bytes", "gauge", "Keys, values, history and log.", &(bytes + api.node.log_bytes()));
    add("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "Keys, values and history.", &bytes);
    add("etcd_debugging_mvcc_keys_total", "gauge", "Keys.", &keys);
    add("etcd_debugging_mvcc_current_revision", "gauge", "The newest revision.", &revision);
    add("etcd_debugging_mvcc_compact_revision", "gauge", "Up to where history is forgotten.", &compacted);
    add("jogi_store_leases", "gauge", "Leases.", &leases);
    add("jogi_store_term", "gauge", "The term: one more with every start.", &api.node.term());
    add("jogi_store_applied_index", "counter", "Entries of the log, ever.", &*api.node.applied().borrow());
    add("jogi_store_log_bytes", "gauge", "What the log's files take.", &api.node.log_bytes());
    let sync = "etcd_disk_wal_fsync_duration_seconds";
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "# HELP {sync} Writes of the log, to the disk.\n# TYPE {sync} summary\n{sync}_sum {}\n{sync}_count {}",
        syncs.total.as_secs_f64(),
        syncs.count
    );
    ([(header::CONTENT_TYPE, FORMAT)], text).into_response()
}
