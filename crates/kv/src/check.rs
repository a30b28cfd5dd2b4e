//! What is refused before it reaches the log, as etcd's API layer does.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::Refused;
use crate::keys::KeyRange;
use crate::rpc::{Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use crate::store::MAX_LEASE_TTL;

/// etcd's `--max-txn-ops`.
pub const MAX_TXN_OPERATIONS: usize = 128;
/// etcd's `--max-request-bytes`.
pub const MAX_REQUEST_BYTES: usize = 1_572_864;

pub fn range(request: &RangeRequest) -> Result<(), Refused> {
    has_key(&request.key)
}

pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Refused> {
    has_key(&request.key)
}

pub fn put(request: &PutRequest) -> Result<(), Refused> {
    has_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refused::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refused::LeaseProvided);
    }
    Ok(())
}

pub fn grant(request: &LeaseGrantRequest) -> Result<(), Refused> {
    if request.ttl > MAX_LEASE_TTL { Err(Refused::LeaseTtlTooLarge) } else { Ok(()) }
}

pub fn txn(request: &TxnRequest) -> Result<(), Refused> {
    operations(request, MAX_TXN_OPERATIONS)?;
    written(&request.success)?;
    written(&request.failure)?;
    Ok(())
}

fn has_key(key: &Bytes) -> Result<(), Refused> {
    if key.is_empty() { Err(Refused::EmptyKey) } else { Ok(()) }
}

fn operations(request: &TxnRequest, left: usize) -> Result<(), Refused> {
    let most = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = left.checked_sub(most).ok_or(Refused::TooManyOperations)?;
    request.compare.iter().try_for_each(|Compare { key, .. }| has_key(key))?;
    request.success.iter().chain(&request.failure).try_for_each(|op| operation(op, left))
}

fn operation(op: &RequestOp, left: usize) -> Result<(), Refused> {
    if let Some(request) = &op.request_range {
        range(request)
    } else if let Some(request) = &op.request_put {
        put(request)
    } else if let Some(request) = &op.request_delete_range {
        delete_range(request)
    } else if let Some(request) = &op.request_txn {
        operations(request, left)
    } else {
        // etcd's answer to an operation that is none.
        Err(Refused::KeyNotFound)
    }
}

/// What a list of operations may write.
#[derive(Default)]
struct Written {
    puts: BTreeSet<Bytes>,
    deletions: Vec<KeyRange>,
}

impl Written {
    fn put(&mut self, key: &Bytes) -> Result<(), Refused> {
        if self.deletions.iter().any(|range| range.contains(key)) || !self.puts.insert(key.clone()) {
            return Err(Refused::DuplicateKey);
        }
        Ok(())
    }
}

/// A key may be written once in a transaction; the two branches of a nested one exclude each other.
fn written(ops: &[RequestOp]) -> Result<Written, Refused> {
    let mut all = Written::default();
    let deletions = ops.iter().filter_map(|op| op.request_delete_range.as_ref());
    all.deletions.extend(deletions.map(|request| KeyRange::new(&request.key, &request.range_end)));
    for nested in ops.iter().filter_map(|op| op.request_txn.as_ref()) {
        let (success, failure) = (written(&nested.success)?, written(&nested.failure)?);
        success.puts.iter().try_for_each(|key| all.put(key))?;
        failure.puts.iter().filter(|key| !success.puts.contains(*key)).try_for_each(|key| all.put(key))?;
        all.deletions.extend(success.deletions);
        all.deletions.extend(failure.deletions);
    }
    let puts = ops.iter().filter_map(|op| op.request_put.as_ref());
    puts.map(|request| &request.key).try_for_each(|key| all.put(key))?;
    Ok(all)
}
