//! Random calls, and their answers by our state machine in the gateway's JSON.

use bytes::Bytes;
use jogi_kv::rpc::*;
use jogi_kv::{Answer, Command, Operation, Refused, Store, check, encode_error};
use proptest::prelude::*;
use serde_json::Value;

use crate::real::sort_lists;

/// Leases that outlive the test.
const TTL: std::ops::Range<i64> = 1000..2000;

/// What is asked, and where.
#[derive(Clone, Debug)]
pub enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases,
    Compaction(CompactionRequest),
    /// So many revisions before the newest.
    Compact {
        back: i64,
    },
}

impl Call {
    pub fn put(key: Bytes, value: &str) -> Call {
        Call::Put(PutRequest { key, value: value.to_owned().into(), ..PutRequest::default() })
    }

    pub fn delete(key: Bytes) -> Call {
        Call::Delete(DeleteRangeRequest { key, ..DeleteRangeRequest::default() })
    }

    /// Revisions near the newest, where they were made up from small numbers.
    pub fn resolve(mut self, newest: i64) -> Call {
        let near = |revision: &mut i64| {
            if *revision != 0 {
                *revision += newest - 8;
            }
        };
        match &mut self {
            Call::Range(request) => range_near(request, &near),
            Call::Txn(request) => txn_near(request, &near),
            Call::Compact { back } => {
                return Call::Compaction(CompactionRequest { revision: newest - *back, physical: true });
            }
            Call::Compaction(request) => near(&mut request.revision),
            Call::Put(_) | Call::Delete(_) | Call::Grant(_) | Call::Revoke(_) | Call::TimeToLive(_) | Call::Leases => {}
        }
        self
    }

    pub fn path(&self) -> &'static str {
        match self {
            Call::Range(_) => "/v3/kv/range",
            Call::Put(_) => "/v3/kv/put",
            Call::Delete(_) => "/v3/kv/deleterange",
            Call::Txn(_) => "/v3/kv/txn",
            Call::Grant(_) => "/v3/lease/grant",
            Call::Revoke(_) => "/v3/lease/revoke",
            Call::TimeToLive(_) => "/v3/lease/timetolive",
            Call::Leases => "/v3/lease/leases",
            Call::Compaction(_) | Call::Compact { .. } => "/v3/kv/compaction",
        }
    }

    pub fn body(&self) -> Value {
        match self {
            Call::Range(request) => json(request),
            Call::Put(request) => json(request),
            Call::Delete(request) => json(request),
            Call::Txn(request) => json(request),
            Call::Grant(request) => json(request),
            Call::Revoke(request) => json(request),
            Call::TimeToLive(request) => json(request),
            Call::Leases => json(&LeaseLeasesRequest {}),
            Call::Compaction(request) => json(request),
            Call::Compact { .. } => unreachable!("resolved before"),
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path(), self.body())
    }
}

fn range_near(request: &mut RangeRequest, near: &impl Fn(&mut i64)) {
    near(&mut request.revision);
    near(&mut request.min_mod_revision);
    near(&mut request.max_mod_revision);
    near(&mut request.min_create_revision);
    near(&mut request.max_create_revision);
}

fn txn_near(request: &mut TxnRequest, near: &impl Fn(&mut i64)) {
    for compare in &mut request.compare {
        compare.mod_revision.iter_mut().for_each(near);
        compare.create_revision.iter_mut().for_each(near);
    }
    for op in request.success.iter_mut().chain(&mut request.failure) {
        op.request_range.iter_mut().for_each(|range| range_near(range, near));
        op.request_txn.iter_mut().for_each(|txn| txn_near(txn, near));
    }
}

fn json<T: serde::Serialize>(message: &T) -> Value {
    serde_json::to_value(message).expect("JSON")
}

/// Our answer, as the gateway would write it.
pub fn ours(store: &mut Store, call: &Call) -> Value {
    let mut answer =
        answer(store, call).unwrap_or_else(|refused| json(&encode_error(refused.code(), &refused.to_string())));
    sort_lists(&mut answer);
    answer
}

fn answer(store: &mut Store, call: &Call) -> Result<Value, Refused> {
    let operation = match call {
        Call::Range(request) => {
            check::range(request)?;
            return store.range(request).map(|answer| json(&answer));
        }
        Call::TimeToLive(request) => return Ok(json(&store.time_to_live(request, 0))),
        Call::Leases => return Ok(json(&store.leases())),
        Call::Put(request) => check::put(request).map(|()| Operation::Put(request.clone()))?,
        Call::Delete(request) => check::delete_range(request).map(|()| Operation::DeleteRange(request.clone()))?,
        Call::Txn(request) => {
            check::txn(request)?;
            if let Some(read) = store.read_txn(request) {
                return read.map(|answer| json(&answer));
            }
            Operation::Txn(request.clone())
        }
        Call::Grant(request) => check::grant(request).map(|()| Operation::Grant(request.clone()))?,
        Call::Revoke(request) => Operation::Revoke(request.clone()),
        Call::Compaction(request) => Operation::Compact(request.clone()),
        Call::Compact { .. } => unreachable!("resolved before"),
    };
    // Through the log's encoding, as on a voter.
    let command = Command::decode(&Command { at: 0, operation }.encode()).expect("our own command");
    Ok(match store.apply(&command)? {
        Answer::Put(answer) => json(&answer),
        Answer::DeleteRange(answer) => json(&answer),
        Answer::Txn(answer) => json(&answer),
        Answer::Compact(answer) => json(&answer),
        Answer::Grant(answer) => json(&answer),
        Answer::Revoke(answer) => json(&answer),
        Answer::KeepAlive(_) | Answer::Expired(_) | Answer::Nothing => unreachable!("not called here"),
    })
}

pub fn key(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn any_key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        20 => prop::sample::select(vec!["a", "b", "c", "d", "e", "a/x", "a/y", "a/z", "b/x", "b/y"]).prop_map(key),
        1 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(&[0xff, 0])),
    ]
}

fn any_end() -> impl Strategy<Value = Bytes> {
    let ends = prop::sample::select(vec!["b", "a0", "c", "f", "a", "a/y", "~~"]).prop_map(key);
    prop_oneof![3 => Just(Bytes::new()), 6 => ends, 1 => Just(Bytes::from_static(&[0]))]
}

fn any_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![1 => Just(Bytes::new()), 6 => prop::sample::select(vec!["1", "2", "3", "long value"]).prop_map(key)]
}

fn any_lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 3 => 1..6i64]
}

/// Small numbers, which `resolve` puts around the newest revision.
fn any_revision() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0), 2 => 1..8i64, 1 => 8..10i64]
}

fn any_range() -> impl Strategy<Value = RangeRequest> {
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let bounds = (any_revision(), any_revision(), any_revision(), any_revision(), prop::bool::weighted(0.3));
    let order = (0..3i32, 0..5i32);
    (any_key(), any_end(), prop_oneof![2 => Just(0), 1 => 1..5i64], any_revision(), order, flags, bounds).prop_map(
        |(key, range_end, limit, revision, (sort_order, sort_target), flags, bounds)| {
            let bound = |value: i64| if bounds.4 { value } else { 0 };
            RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                serializable: flags.0,
                keys_only: flags.1,
                count_only: flags.2,
                min_mod_revision: bound(bounds.0),
                max_mod_revision: bound(bounds.1),
                min_create_revision: bound(bounds.2),
                max_create_revision: bound(bounds.3),
            }
        },
    )
}

fn any_put() -> impl Strategy<Value = PutRequest> {
    let flags = (any::<bool>(), prop::bool::weighted(0.15), prop::bool::weighted(0.15), prop::bool::weighted(0.1));
    (any_key(), any_value(), any_lease(), flags).prop_map(|(key, value, lease, flags)| {
        let (prev_kv, ignore_value, ignore_lease, sloppy) = flags;
        let value = if ignore_value && !sloppy { Bytes::new() } else { value };
        let lease = if ignore_lease && !sloppy { 0 } else { lease };
        PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    })
}

fn any_delete() -> impl Strategy<Value = DeleteRangeRequest> {
    // A deletion to the end of all keys within a transaction is left out: etcd 3.4 takes its end for a key.
    let end = any_end().prop_map(|end| if end == [0][..] { Bytes::new() } else { end });
    (any_key(), end, any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest { key, range_end, prev_kv })
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let end = prop_oneof![3 => Just(Bytes::new()), 1 => any_end()];
    let operands = (0..3i64, any_revision(), any_value(), any_lease(), prop::bool::weighted(0.05));
    (any_key(), end, 0..4i32, 0..5i32, operands).prop_map(|(key, range_end, result, target, operands)| {
        let mut compare = Compare { key, range_end, result, target, ..Compare::default() };
        match (operands.4, target) {
            (true, _) => {}
            (false, 0) => compare.version = Some(operands.0),
            (false, 1) => compare.create_revision = Some(operands.1),
            (false, 2) => compare.mod_revision = Some(operands.1),
            (false, 3) => compare.value = Some(operands.2),
            (false, _) => compare.lease = Some(operands.3),
        }
        compare
    })
}

fn any_op() -> impl Strategy<Value = RequestOp> {
    prop_oneof![
        3 => any_range().prop_map(|r| RequestOp { request_range: Some(r), ..RequestOp::default() }),
        3 => any_put().prop_map(|r| RequestOp { request_put: Some(r), ..RequestOp::default() }),
        1 => any_delete().prop_map(|r| RequestOp { request_delete_range: Some(r), ..RequestOp::default() }),
    ]
}

fn any_txn() -> impl Strategy<Value = TxnRequest> {
    let flat = || {
        let list = |op| prop::collection::vec(op, 0..4);
        (prop::collection::vec(any_compare(), 0..3), list(any_op().boxed()), list(any_op().boxed()))
            .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
    };
    let nested = (flat(), flat(), any::<bool>()).prop_map(|(mut outer, inner, first)| {
        let branch = if first { &mut outer.success } else { &mut outer.failure };
        branch.push(RequestOp { request_txn: Some(inner), ..RequestOp::default() });
        outer
    });
    prop_oneof![4 => flat(), 1 => nested]
}

pub fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => any_range().prop_map(Call::Range),
        8 => any_put().prop_map(Call::Put),
        2 => any_delete().prop_map(Call::Delete),
        10 => any_txn().prop_map(Call::Txn),
        1 => (1..6i64, TTL).prop_map(|(id, ttl)| Call::Grant(LeaseGrantRequest { id, ttl })),
        1 => Just(Call::Grant(LeaseGrantRequest { id: 9, ttl: 9_000_000_001 })),
        1 => (1..6i64).prop_map(|id| Call::Revoke(LeaseRevokeRequest { id })),
        1 => (1..6i64, any::<bool>()).prop_map(|(id, keys)| Call::TimeToLive(LeaseTimeToLiveRequest { id, keys })),
        1 => Just(Call::Leases),
        1 => prop_oneof![Just(1i64), Just(9), Just(10)]
            .prop_map(|revision| Call::Compaction(CompactionRequest { revision, physical: false })),
    ]
}

pub fn any_watch(newest: i64) -> impl Strategy<Value = WatchCreateRequest> {
    let filters = prop::collection::vec(0..2i32, 0..2);
    let start = prop_oneof![1 => 1..5i64, 6 => (newest - 300).max(1)..newest];
    (prop_oneof![Just("a"), Just("a/x"), Just("b")], start, filters, any::<bool>()).prop_map(
        |(first, start_revision, filters, prev_kv)| WatchCreateRequest {
            key: key(first),
            range_end: key("~~"),
            start_revision,
            filters,
            prev_kv,
            ..WatchCreateRequest::default()
        },
    )
}
