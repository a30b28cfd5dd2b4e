//! Reads with etcd's options.

use std::cmp::Ordering;

use crate::history::History;
use crate::keys::KeyRange;
use crate::rpc::{KeyValue, RangeRequest, RangeResponse, SortOrder, SortTarget};

/// The range at `revision`. The header is the caller's.
pub(crate) fn read(history: &History, request: &RangeRequest, revision: i64) -> RangeResponse {
    let range = KeyRange::new(&request.key, &request.range_end);
    let mut found = history.range(&range, revision);
    if request.count_only {
        return RangeResponse { count: count(found.count()), ..RangeResponse::default() };
    }
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
    let mut kvs: Vec<KeyValue> = Vec::new();
    // One more than the limit tells that there are more. What is sorted or sieved afterwards is read as a whole.
    let enough = if is_sieved(request) { usize::MAX } else { limit.map_or(usize::MAX, |limit| limit + 1) };
    kvs.extend(found.by_ref().take(enough));
    let total = kvs.len() + found.count();
    kvs.retain(|kv| is_wanted(kv, request));
    sort(&mut kvs, request);
    let more = limit.is_some_and(|limit| kvs.len() > limit);
    kvs.truncate(limit.unwrap_or(usize::MAX));
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    RangeResponse { header: None, kvs, more, count: count(total) }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn is_sieved(request: &RangeRequest) -> bool {
    let bounds =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    request.sort_order != SortOrder::None as i32 || bounds.iter().any(|bound| *bound != 0)
}

fn is_wanted(kv: &KeyValue, request: &RangeRequest) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Equal ones stay in the order of their keys. Without an order, a target other than the key sorts upwards.
fn sort(kvs: &mut [KeyValue], request: &RangeRequest) {
    let target = SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key);
    let order: fn(&KeyValue, &KeyValue) -> Ordering = match target {
        SortTarget::Key => |a, b| a.key.cmp(&b.key),
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    if request.sort_order == SortOrder::Descend as i32 {
        kvs.sort_by(|a, b| order(b, a));
    } else {
        kvs.sort_by(order);
    }
}
