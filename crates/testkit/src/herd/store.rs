//! The herd's store: one real etcd (or jogi's own store) on a host of its own, what stands in it, and what can happen to it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::HerdSpec;
use super::place::{self, Lab, Place};
use crate::{http, process, wait};

/// etcd on a loaded machine takes seconds to elect itself.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A key as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: String,
    /// 0 when the key is not bound to a lease.
    pub lease: i64,
    pub created: i64,
    pub modified: i64,
}

/// A change of a key, as it once happened. `value` is `None` when the key went: deleted, or its lease ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: i64,
    pub key: String,
    pub value: Option<String>,
}

/// The store's host.
pub struct Store {
    place: Place,
    dir: PathBuf,
    port: u16,
    inner_port: u16,
    peer_port: u16,
    /// The binary whose `store` runs instead of etcd.
    built_in: Option<PathBuf>,
    child: Mutex<Option<Child>>,
}

impl Store {
    pub(super) fn start_new(lab: Option<&Arc<Lab>>, workdir: &Path, spec: &HerdSpec) -> io::Result<Store> {
        let dir = workdir.join("store");
        std::fs::create_dir(&dir)?;
        let place = Place::create(lab, "store", place::STORE, &dir)?;
        let port = place.port(2379)?;
        let inner_port = if spec.store_front { place.port(2378)? } else { port };
        let peer_port = place.port(2380)?;
        let built_in = spec.built_in_store.then(|| spec.jogi.clone());
        let store = Store { place, dir, port, inner_port, peer_port, built_in, child: Mutex::new(None) };
        store.start();
        Ok(store)
    }

    /// The address that the agents are told.
    pub fn front(&self) -> SocketAddr {
        SocketAddr::new(self.place.ip(), self.port)
    }

    /// Where etcd listens, as seen from its own host.
    pub fn behind(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.inner_port).into()
    }

    /// Runs `work` as if on the store's host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.place.run(work)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// Starts etcd on the data that are there and waits until it answers.
    pub fn start(&self) {
        let advertised = format!("http://{}", self.front());
        let listen = match self.inner_port == self.port && !self.place.ip().is_loopback() {
            true => format!("{advertised},http://{}", self.behind()),
            false => format!("http://{}", self.behind()),
        };
        let words = match &self.built_in {
            Some(jogi) => vec![jogi.display().to_string(), "store".to_owned()],
            None => vec!["etcd".to_owned(), "--unsafe-no-fsync".to_owned()],
        };
        let words: Vec<String> = words.into_iter().chain(self.options(listen, advertised)).collect();
        let started = self.place.spawn(&words, false, &[], &self.log_path());
        *self.child() = Some(started.unwrap_or_else(|e| panic!("starting etcd: {e}")));
        if wait::poll(READY_WITHIN, || self.answers().then_some(())).is_none() {
            panic!("etcd did not answer within {READY_WITHIN:?}; it said:\n{}", self.log());
        }
    }

    fn options(&self, listen: String, advertised: String) -> Vec<String> {
        let data = self.dir.join("data").display().to_string();
        let mut options = vec![
            ("--name", "store".to_owned()),
            ("--data-dir", data),
            ("--listen-client-urls", listen),
            ("--advertise-client-urls", advertised),
        ];
        if self.built_in.is_none() {
            let peer = format!("http://127.0.0.1:{}", self.peer_port);
            options.extend([
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer.clone()),
                ("--initial-cluster", format!("store={peer}")),
                ("--log-level", "error".to_owned()),
            ]);
        }
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self) -> i32 {
        let id = self.child().as_ref().map(Child::id);
        id.and_then(|id| i32::try_from(id).ok()).unwrap_or_else(|| panic!("etcd is not running"))
    }

    /// Whether it completes a linearizable read.
    pub fn answers(&self) -> bool {
        self.try_call("/v3/kv/range", &json!({"key": BASE64.encode("/")}), Duration::from_secs(1)).is_some()
    }

    /// Stops it in its tracks: connections stay open, nothing answers.
    pub fn freeze(&self) {
        process::freeze(self.pid());
    }

    pub fn thaw(&self) {
        process::thaw(self.pid());
        wait::until("etcd answers again", READY_WITHIN, || self.answers());
    }

    /// Kills it; its data stay.
    pub fn kill(&self) {
        process::kill_all(&[self.pid()]);
        self.reap();
    }

    fn reap(&self) {
        if let Some(mut child) = self.child().take() {
            // Killed before; an error means that it is reaped already.
            let _ = child.wait();
        }
    }

    /// For the end: whether nothing is left.
    pub(super) fn kill_everything(&self) -> bool {
        let empty = wait::poll(ANSWER_WITHIN, || {
            let pids = self.processes();
            for pid in &pids {
                process::send(*pid, process::Signal::KILL);
            }
            pids.is_empty().then_some(())
        });
        self.reap();
        empty.is_some()
    }

    pub(super) fn processes(&self) -> Vec<i32> {
        self.place.processes()
    }

    fn try_call(&self, path: &str, body: &Value, within: Duration) -> Option<Value> {
        let (to, body) = (self.behind(), body.to_string());
        let reply = self.place.run(|| http::request(to, "POST", path, Some(&body), within));
        (reply.status == 200).then(|| reply.json())
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        let answer = wait::poll(ANSWER_WITHIN, || self.try_call(path, body, ANSWER_WITHIN));
        answer.unwrap_or_else(|| panic!("etcd did not answer {path} {body}"))
    }

    /// Every key that begins with `prefix`.
    pub fn entries(&self, prefix: &str) -> BTreeMap<String, Entry> {
        let answer = self.call("/v3/kv/range", &range(prefix));
        let entries = answer["kvs"].as_array().into_iter().flatten();
        entries.map(|kv| (text(&kv["key"]), entry(kv))).collect()
    }

    pub fn entry(&self, key: &str) -> Option<Entry> {
        self.entries(key).remove(key)
    }

    pub fn value(&self, key: &str) -> Option<String> {
        self.entry(key).map(|e| e.value)
    }

    pub fn put(&self, key: &str, value: &str) {
        self.call("/v3/kv/put", &json!({"key": BASE64.encode(key), "value": BASE64.encode(value)}));
    }

    pub fn delete(&self, key: &str) {
        self.call("/v3/kv/deleterange", &json!({"key": BASE64.encode(key)}));
    }

    /// The granted time to live of a lease, in seconds.
    pub fn lease_ttl(&self, lease: i64) -> Option<i64> {
        number(&self.call("/v3/lease/timetolive", &json!({"ID": lease.to_string()}))["grantedTTL"])
    }

    /// gRPC requests that it has begun to handle since its start.
    pub fn requests(&self) -> u64 {
        let to = self.behind();
        let reply = self.place.run(|| http::request(to, "GET", "/metrics", None, ANSWER_WITHIN));
        let counts = reply.body.lines().filter(|l| l.starts_with("grpc_server_started_total{"));
        counts.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// The revision of the last change.
    pub fn revision(&self) -> i64 {
        let answer = self.call("/v3/kv/range", &json!({"key": BASE64.encode("/"), "count_only": true}));
        number(&answer["header"]["revision"]).unwrap_or(0)
    }

    /// All changes below `prefix` from a revision on, in order: etcd keeps them, so a test can ask afterwards.
    pub fn history(&self, prefix: &str, from: i64) -> Vec<Change> {
        let last = self.revision();
        let mut changes = Vec::new();
        self.read_history(prefix, from, last, &mut changes)
            .unwrap_or_else(|e| panic!("reading the store's history of {prefix}: {e}"));
        changes.retain(|c| c.revision <= last);
        changes
    }

    fn read_history(&self, prefix: &str, from: i64, last: i64, changes: &mut Vec<Change>) -> io::Result<()> {
        // A watch tells nothing when there is nothing to tell: a last change of our own ends it.
        let end = format!("{}~end-of-history", prefix);
        self.put(&end, "");
        let mut request = range(prefix);
        request["start_revision"] = from.to_string().into();
        let body = json!({"create_request": request}).to_string();
        let deadline = Instant::now() + READY_WITHIN;
        let to = self.behind();
        let stream = self.place.run(|| http::open(to, "POST", "/v3/watch", Some(&body), deadline))?;
        stream.set_read_timeout(Some(http::left(deadline)?))?;
        let mut lines = BufReader::new(stream).lines();
        for line in &mut lines {
            let message: Value = serde_json::from_str(&line?).unwrap_or(Value::Null);
            let events = message["result"]["events"].as_array().into_iter().flatten();
            changes.extend(events.filter_map(change));
            if changes.last().is_some_and(|c| c.revision > last) {
                self.delete(&end);
                return Ok(());
            }
        }
        Err(io::Error::other("the watch ended before the last change"))
    }
}

fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({"key": BASE64.encode(prefix), "range_end": BASE64.encode(end)})
}

fn entry(kv: &Value) -> Entry {
    let field = |name: &str| number(&kv[name]).unwrap_or(0);
    Entry {
        value: text(&kv["value"]),
        lease: field("lease"),
        created: field("create_revision"),
        modified: field("mod_revision"),
    }
}

fn change(event: &Value) -> Option<Change> {
    let kv = &event["kv"];
    let deleted = event["type"] == "DELETE";
    let value = (!deleted).then(|| text(&kv["value"]));
    Some(Change { revision: number(&kv["mod_revision"])?, key: text(&kv["key"]), value })
}

/// etcd's gateway writes 64-bit numbers as strings.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: &Value) -> String {
    let bytes = value.as_str().and_then(|s| BASE64.decode(s).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
