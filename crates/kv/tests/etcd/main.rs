//! The state machine beside a real etcd: the same random calls on both, every answer compared, revisions included.

mod calls;
mod real;

use jogi_kv::rpc::WatchCreateRequest;
use jogi_kv::{Store, Watcher};
use jogi_testkit::require::{self, Need};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use self::calls::{Call, key, ours};
use self::real::Real;

/// About 1 ms each on an idle machine.
const CALLS: usize = 4000;
const COMPACT_EVERY: usize = 500;
const WATCHES: usize = 40;

#[test]
fn random_calls_are_answered_as_by_etcd() {
    if !require::can(&[Need::Program("etcd")]) {
        return;
    }
    let seed: u64 = std::env::var("JOGI_KV_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut runner = runner(seed);
    let (real, mut store) = (Real::start(), Store::default());
    let mut before: Vec<String> = Vec::new();
    for number in 0..CALLS {
        let call = if number % COMPACT_EVERY == COMPACT_EVERY - 1 {
            Call::Compact { back: i64::try_from(number % 37).expect("small") }
        } else {
            calls::any_call().new_tree(&mut runner).expect("a call").current()
        };
        let call = call.resolve(store.revision());
        let (theirs, mine) = (real.call(&call), ours(&mut store, &call));
        assert_eq!(
            mine, theirs,
            "\nours (left), etcd's (right); seed {seed}, call {number}: {call}\nbefore: {before:#?}"
        );
        before.push(call.to_string());
        before.drain(..before.len().saturating_sub(40));
        if number % 250 == 0 {
            store = Store::restore(&store.snapshot()).expect("our own snapshot");
        }
    }
    watches(&real, &mut store, &mut runner);
}

/// Histories from random revisions on, through random filters.
fn watches(real: &Real, store: &mut Store, runner: &mut TestRunner) {
    for _ in 0..WATCHES {
        let request = calls::any_watch(store.revision()).new_tree(runner).expect("a watch").current();
        let theirs = real.watch(&request, || end_mark(real, store));
        assert_eq!(our_watch(store, &request), theirs, "{request:?}");
    }
}

/// A change that every watch sees, whatever it filters: put and deleted.
fn end_mark(real: &Real, store: &mut Store) -> i64 {
    for call in [Call::put(key("~"), "end"), Call::delete(key("~"))] {
        assert_eq!(ours(store, &call), real.call(&call));
    }
    store.revision()
}

fn our_watch(store: &Store, request: &WatchCreateRequest) -> Vec<serde_json::Value> {
    let (mut watcher, _) = Watcher::create(store, request, 0);
    let mut events = Vec::new();
    loop {
        let messages = watcher.poll(store);
        if messages.is_empty() {
            return events;
        }
        for message in messages {
            if message.canceled {
                return vec![json!({"compact_revision": message.compact_revision.to_string()})];
            }
            events.extend(message.events.iter().map(|e| serde_json::to_value(e).expect("JSON")));
        }
    }
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
