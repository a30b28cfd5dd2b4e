//! A real etcd, asked over its gateway.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use jogi_kv::rpc::WatchCreateRequest;
use jogi_testkit::etcd::Etcd;
use jogi_testkit::http;
use serde_json::{Value, json};

use crate::calls::Call;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

pub struct Real(Etcd);

impl Real {
    pub fn start() -> Real {
        Real(Etcd::start())
    }

    /// Without what no two servers have in common.
    pub fn call(&self, call: &Call) -> Value {
        let reply =
            http::request(self.0.address(0), "POST", call.path(), Some(&call.body().to_string()), ANSWER_WITHIN);
        let mut answer: Value = serde_json::from_str(&reply.body).unwrap_or_else(|e| panic!("{e}: {}", reply.body));
        forget_server(&mut answer);
        if let Call::TimeToLive(_) = call {
            round_time_left(&mut answer);
        }
        sort_lists(&mut answer);
        answer
    }

    /// All events up to what `mark` changes, or the revision of the compaction that ended the watch.
    pub fn watch(&self, request: &WatchCreateRequest, mark: impl FnOnce() -> i64) -> Vec<Value> {
        let body = json!({"create_request": request}).to_string();
        let deadline = Instant::now() + ANSWER_WITHIN;
        let stream = http::open(self.0.address(0), "POST", "/v3/watch", Some(&body), deadline).expect("a watch");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a time limit");
        let (mut events, mut mark, mut last) = (Vec::new(), Some(mark), i64::MAX);
        for line in BufReader::new(stream).lines() {
            let Ok(message) = serde_json::from_str::<Value>(&line.expect("a line of the watch")) else { continue };
            let message = &message["result"];
            if message["created"] == true
                && let Some(mark) = mark.take()
            {
                last = mark();
            }
            if let Some(compacted) = message["compact_revision"].as_str() {
                return vec![json!({"compact_revision": compacted})];
            }
            events.extend(message["events"].as_array().into_iter().flatten().cloned());
            if events.last().is_some_and(|event| has_come_to(event, last)) {
                return events;
            }
        }
        panic!("the watch ended early: {events:?}");
    }
}

/// The mark is a put and a deletion, of which a filter may hide one.
fn has_come_to(event: &Value, last: i64) -> bool {
    let revision: i64 = event["kv"]["mod_revision"].as_str().and_then(|r| r.parse().ok()).unwrap_or(0);
    revision >= last - 1 && event["kv"]["key"] == "fg==" && (revision == last || event["type"] != "DELETE")
}

fn forget_server(answer: &mut Value) {
    match answer {
        Value::Object(fields) => {
            for name in ["cluster_id", "member_id", "raft_term"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget_server);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_server),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// On ours no time passes in this test.
fn round_time_left(answer: &mut Value) {
    if answer["TTL"] != "-1" && answer["grantedTTL"].is_string() {
        answer["TTL"] = answer["grantedTTL"].clone();
    }
}

/// What stands in no order, or in that of a time that does not pass on ours.
pub fn sort_lists(answer: &mut Value) {
    for name in ["leases", "keys"] {
        if let Some(list) = answer.get_mut(name).and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
}
