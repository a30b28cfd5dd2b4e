//! The built-in store killed while it writes: what it acknowledged is there when it comes again.
//!
//! `JOGI_STORE_KILLS` kills more often than usual.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jogi_testkit::disk::{self, SmallDisk};
use jogi_testkit::own_store::{OwnStore, free_address};
use jogi_testkit::require::{Need, can};
use jogi_testkit::{http, wait};
use serde_json::{Value, json};

const KILLS: u32 = 6;
const WRITERS: usize = 4;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const READY_WITHIN: Duration = Duration::from_secs(30);

fn store(data: &Path) -> OwnStore {
    let small = ["--snapshot-bytes", "60000", "--auto-compaction-retention", "100"];
    OwnStore::start(env!("CARGO_BIN_EXE_jogi"), data, &small)
}

/// What one writer was told is written: its key's number, and the revision at which it was.
#[derive(Clone, Copy, Debug, Default)]
struct Acked {
    number: u64,
    revision: i64,
}

#[test]
fn a_store_killed_at_any_moment_loses_nothing_that_it_acknowledged() {
    let kills = std::env::var("JOGI_STORE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let store = store(&data);
    let at = store.address();
    let mut total = 0;
    let mut last: BTreeMap<usize, Acked> = BTreeMap::new();
    for kill in 0..kills {
        let writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::start(n, at, last.get(&n).copied())).collect();
        std::thread::sleep(Duration::from_millis(150 + u64::from(kill * 37 % 200)));
        store.restart();
        for writer in writers {
            let (name, tried, acked) = writer.stop();
            total += acked.number - last.get(&name).map_or(0, |before| before.number);
            let (found, revision) = read(at, name);
            // A write whose answer was lost may be there or not; nothing else may.
            assert!((acked.number..=tried).contains(&found), "writer {name}: {acked:?}, tried {tried}, found {found}");
            assert!(revision >= acked.revision, "writer {name}: {acked:?}, found at {revision}");
            last.insert(name, Acked { number: found, revision });
        }
    }
    eprintln!("{kills} kills, {total} acknowledged writes, none lost");
    assert!(total > u64::from(kills), "the writers hardly wrote: {total}");
}

struct Writer {
    name: usize,
    stop: Arc<AtomicBool>,
    state: Arc<Mutex<(u64, Acked)>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Goes on from the number that is there, and ends with the first write that is not acknowledged.
    fn start(name: usize, at: SocketAddr, from: Option<Acked>) -> Writer {
        let from = from.unwrap_or_default();
        let (stop, state) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new((from.number, from))));
        let (stopped, shared) = (stop.clone(), state.clone());
        let thread = std::thread::spawn(move || {
            let mut number = from.number;
            while !stopped.load(Ordering::SeqCst) {
                number += 1;
                shared.lock().expect("no panics").0 = number;
                let Some(revision) = write(at, name, number) else { return };
                shared.lock().expect("no panics").1 = Acked { number, revision };
            }
        });
        Writer { name, stop, state, thread }
    }

    fn stop(self) -> (usize, u64, Acked) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("a writer");
        let (tried, acked) = *self.state.lock().expect("no panics");
        (self.name, tried, acked)
    }
}

/// By transaction: the next number only after the one before.
fn write(at: SocketAddr, name: usize, number: u64) -> Option<i64> {
    let key = BASE64.encode(format!("writer{name}"));
    let value = |n: u64| BASE64.encode(n.to_string());
    let compare = match number {
        1 => json!({"key": key, "target": "CREATE", "create_revision": "0"}),
        _ => json!({"key": key, "target": "VALUE", "value": value(number - 1)}),
    };
    let body = json!({"compare": [compare], "success": [{"request_put": {"key": key, "value": value(number)}}]});
    let reply = http::request(at, "POST", "/v3/kv/txn", Some(&body.to_string()), ANSWER_WITHIN);
    let answer = (reply.status == 200).then(|| reply.json())?;
    assert_eq!(answer["succeeded"], true, "writer {name}: {number} does not follow what is there: {answer}");
    answer["header"]["revision"].as_str()?.parse().ok()
}

fn read(at: SocketAddr, name: usize) -> (u64, i64) {
    let body = json!({"key": BASE64.encode(format!("writer{name}"))}).to_string();
    let answer = http::request(at, "POST", "/v3/kv/range", Some(&body), ANSWER_WITHIN).json();
    let value = |field: &str| answer["kvs"][0][field].as_str().map(str::to_owned);
    let number = value("value").and_then(|v| BASE64.decode(v).ok()).and_then(|v| String::from_utf8(v).ok());
    let number = number.and_then(|n| n.parse().ok()).unwrap_or(0);
    (number, value("mod_revision").and_then(|r| r.parse().ok()).unwrap_or(0))
}

#[test]
fn a_directory_that_is_not_its_own_or_is_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let running = store(&data);
    assert!(refusal(&data, &[]).contains("another store runs on"));
    drop(running);

    let identity = data.join("identity.json");
    std::fs::rename(&identity, dir.path().join("kept")).expect("moved");
    assert!(refusal(&data, &[]).contains("only a part of a store"));
    std::fs::rename(dir.path().join("kept"), &identity).expect("moved back");

    let mut log = std::fs::read_dir(&data).expect("data").flatten().map(|e| e.path());
    let log = log.find(|p| p.extension().is_some_and(|s| s == "log")).expect("a log");
    let whole = std::fs::read(&log).expect("the log");
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    std::fs::write(&log, &damaged).expect("damaged");
    let said = refusal(&data, &[]);
    assert!(said.contains(&log.display().to_string()) && said.contains("byte 8"), "{said}");
    assert_eq!(std::fs::read(&log).expect("the log"), damaged, "nothing was changed");
    std::fs::write(&log, &whole).expect("repaired");
    drop(store(&data));

    std::fs::write(data.join("PG_VERSION"), "15").expect("a file");
    assert!(refusal(&data, &[]).contains("PG_VERSION"));
    let three = ["--initial-cluster", "a=http://h1:2380,b=http://h2:2380,c=http://h3:2380"];
    assert!(refusal(&dir.path().join("new"), &three).contains("one server"));
}

/// What a store says that does not start.
fn refusal(data: &Path, more: &[&str]) -> String {
    let at = free_address().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jogi"));
    command.args(["store", "--listen-client", &at, "--data-dir"]).arg(data).args(more).stdin(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the store starts");
    let ended = wait::poll(READY_WITHIN, || child.try_wait().expect("its end"));
    if ended.is_none() {
        // It runs, which the assertion below tells.
        let _ = child.kill();
    }
    let said = child.wait_with_output().expect("its output");
    assert!(ended.is_some_and(|status| !status.success()), "it was not refused");
    String::from_utf8_lossy(&said.stderr).into_owned()
}

/// The gateway's answers that our other tests do not see.
#[test]
fn what_is_not_there_is_refused_as_etcd_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir.path().join("data"));
    let at = store.address();
    let long = format!(r#"{{"key":"YQ==","value":"{}"}}"#, "A".repeat(3_000_000));
    for (path, body, status, code) in [
        ("/v3/auth/authenticate", r#"{"name":"a","password":"b"}"#, 412, 9),
        ("/v3/auth/enable", "{}", 501, 12),
        ("/v3/maintenance/snapshot", "{}", 501, 12),
        ("/v3/cluster/member/add", "{}", 501, 12),
        ("/v3/kv/range", r#"{"key":"YQ="#, 400, 3),
        ("/v3/kv/range", "", 400, 3),
        ("/v3/kv/put", r#"{"key":"YQ==","lease":"77"}"#, 404, 5),
        ("/v3beta/kv/compaction", r#"{"revision":"99"}"#, 400, 11),
        ("/v3/kv/put", &long, 400, 3),
    ] {
        let reply = http::request(at, "POST", path, Some(body), ANSWER_WITHIN);
        let shown = &body[..body.len().min(60)];
        assert_eq!((i64::from(reply.status), reply.json()["code"].as_i64()), (status, Some(code)), "{path} {shown}");
    }
    assert_eq!(http::request(at, "POST", "/v3/nope", Some("{}"), ANSWER_WITHIN).status, 404);
    assert_eq!(http::request(at, "GET", "/v3/kv/range", None, ANSWER_WITHIN).status, 405);
    let version: Value = http::request(at, "GET", "/version", None, ANSWER_WITHIN).json();
    assert_eq!(version["etcdserver"], "3.4.0");
}

/// Reads go on, writes are refused with etcd's error, and room is all that it takes.
#[test]
fn a_full_disk_refuses_writes_and_harms_nothing() {
    if !can(&[Need::Networks]) {
        return;
    }
    disk::own_mounts().expect("mounts of the test's own");
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let disk = SmallDisk::mount(&data, 1 << 20).expect("a small disk");
    let store = store(&data);
    let at = store.address();
    let put = |n: usize| {
        let body = json!({"key": BASE64.encode(format!("key{n}")), "value": BASE64.encode(vec![b'x'; 20_000])});
        http::request(at, "POST", "/v3/kv/put", Some(&body.to_string()), ANSWER_WITHIN)
    };
    let written = (0..).find(|n| put(*n).status != 200).expect("an end");
    let refused = put(written);
    assert_eq!((refused.status, refused.json()["code"].as_i64()), (429, Some(8)), "{}", refused.body);
    assert!(refused.body.contains("database space exceeded"));
    assert_eq!(count(at), written);

    disk.resize(64 << 20).expect("room");
    assert_eq!(put(written).status, 200, "it goes on when there is room");
    store.restart();
    assert_eq!(count(at), written + 1);
    assert!(written > 20, "only {written} were written");
}

/// Keys that are there.
fn count(at: SocketAddr) -> usize {
    let body = json!({"key": BASE64.encode("key"), "range_end": BASE64.encode("kez"), "count_only": true}).to_string();
    let answer = http::request(at, "POST", "/v3/kv/range", Some(&body), ANSWER_WITHIN).json();
    answer["count"].as_str().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn it_is_measured_under_etcds_names() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir.path().join("data"));
    let call = |path: &str, body: &Value| {
        let reply = http::request(store.address(), "POST", path, Some(&body.to_string()), ANSWER_WITHIN);
        assert_eq!(reply.status, 200, "{}", reply.body);
    };
    call("/v3/lease/grant", &json!({"TTL": "60"}));
    for key in ["a", "b", "a"] {
        call("/v3/kv/put", &json!({"key": BASE64.encode(key)}));
    }
    let text = http::request(store.address(), "GET", "/metrics", None, ANSWER_WITHIN).body;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    };
    for (name, expected) in [
        ("etcd_server_has_leader", 1.0),
        ("etcd_debugging_mvcc_keys_total", 2.0),
        ("etcd_debugging_mvcc_current_revision", 4.0),
        ("jogi_store_leases", 1.0),
        ("jogi_store_term", 2.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert!(value("etcd_disk_wal_fsync_duration_seconds_count") >= 5.0);
    assert!(value("etcd_disk_wal_fsync_duration_seconds_sum") > 0.0);
    assert!(value("etcd_mvcc_db_total_size_in_bytes") > value("etcd_mvcc_db_total_size_in_use_in_bytes"));
}

/// They cost a place in the history each, and nobody waits for them.
#[test]
fn a_thousand_watches_and_clients_that_never_read_hold_nobody_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(&dir.path().join("data"));
    let at = store.address();
    let create = |key: &str, end: &str| {
        let key = json!({"key": BASE64.encode(key), "range_end": BASE64.encode(end), "start_revision": "1"});
        json!({"create_request": key}).to_string()
    };
    let watch = |body: &str| {
        let stream = http::open(at, "POST", "/v3/watch", Some(body), Instant::now() + ANSWER_WITHIN).expect("a watch");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a time limit");
        BufReader::new(stream)
    };
    let of_stream = |n: usize| (0..20).map(|w| create(&format!("quiet{n}/{w}"), "")).collect::<String>();
    let mut thousand: Vec<_> = (0..50).map(|n| watch(&of_stream(n))).collect();
    let mut unread: Vec<_> = (0..5).map(|_| watch(&create("loud", "loue"))).collect();

    let put = |key: &str, bytes: usize| {
        let body = json!({"key": BASE64.encode(key), "value": BASE64.encode(vec![b'x'; bytes])}).to_string();
        let reply = http::request(at, "POST", "/v3/kv/put", Some(&body), ANSWER_WITHIN);
        assert_eq!(reply.status, 200, "{}", reply.body);
    };
    (0..100).for_each(|n| put(&format!("loud{n:03}"), 100_000));
    (0..50).for_each(|n| put(&format!("quiet{n}/7"), 1));

    let next_event = |watch: &mut BufReader<TcpStream>| -> Value {
        let lines = watch.by_ref().lines().map(|line| line.expect("a line"));
        let messages = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let mut told = messages.map(|message| message["result"].clone()).filter(|m| m["events"].is_array());
        told.next().expect("an event")
    };
    for (n, watch) in thousand.iter_mut().enumerate() {
        let told = next_event(watch);
        assert_eq!(told["events"][0]["kv"]["key"], BASE64.encode(format!("quiet{n}/7")), "{told}");
        assert_eq!(told["watch_id"], "7");
    }
    for watch in &mut unread {
        let mut seen = Vec::new();
        while seen.len() < 100 {
            let told = next_event(watch);
            let events = told["events"].as_array().expect("events").iter();
            seen.extend(events.map(|e| e["kv"]["key"].as_str().expect("a key").to_owned()));
        }
        let all: Vec<String> = (0..100).map(|n| BASE64.encode(format!("loud{n:03}"))).collect();
        assert_eq!(seen, all, "all of it, in order");
    }
}
