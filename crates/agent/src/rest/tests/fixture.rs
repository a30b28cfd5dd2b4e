//! Members in known states, a store that answers from memory, and a core that answers what it is told to.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jogi_core::ha::server::{Accepting, Control, ControlState, DataDir, Process, Receiver, Row, Walsender};
use jogi_core::ha::{Decision, GuardState, Lease, Local, Reply, Request, Server, Snapshot};
use jogi_core::view::{Cluster, Expect, KeyValue, Revision, Session, Tags, Write, Written};
use jogi_core::{Lsn, Now, Tick, Timeline, Wall};
use jogi_dcs::{Acquired, Beat, Dcs, DcsError, Freshness, SetupError, View, WatchEvent};
use jogi_testkit::http::{self, Reply as Answered};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::glue::Asked;
use crate::keeper::KeeperHandle;
use crate::record::Record;
use crate::rest::{LiveStatus, Options, serve};

/// 2026-11-22 22:03:10.831115 UTC.
pub const STARTED: Wall = Wall(1_795_384_990_831_115);

/// A state of one member.
#[derive(Clone)]
pub struct State {
    pub name: &'static str,
    pub state: &'static str,
    pub role: &'static str,
    pub row: Option<Row>,
    pub keys: Vec<(&'static str, String)>,
    /// There is a view of the store.
    pub seen: bool,
    /// The keeper says that the lock is valid.
    pub locked: bool,
    pub tags: Value,
    pub live: Option<Row>,
}

fn primary_row() -> Row {
    let walsender = Walsender {
        user: "replicator".into(),
        application_name: "node-1".into(),
        client_addr: Some("10.0.0.5".into()),
        state: "streaming".into(),
        sync_state: "sync".into(),
        sync_priority: 1,
        ..Walsender::default()
    };
    Row {
        server_version: 150_010,
        postmaster_start: STARTED,
        timeline: Some(Timeline(2)),
        flushed: Lsn(67_108_992),
        replication: vec![walsender],
        ..Row::default()
    }
}

pub fn replica_row() -> Row {
    Row {
        in_recovery: true,
        flushed: Lsn(0),
        replayed: Lsn(67_108_992),
        received: Lsn(67_108_992),
        receiver: Some(Receiver { status: "streaming".into(), latest_end: Lsn(67_108_992), ..Receiver::default() }),
        replication: Vec::new(),
        ..primary_row()
    }
}

impl State {
    pub fn replica() -> State {
        State {
            name: "node-1",
            state: "running",
            role: "replica",
            row: Some(replica_row()),
            keys: vec![
                ("leader", "node-0".into()),
                ("status", r#"{"optime":67108992}"#.into()),
                ("config", r#"{"ttl":30}"#.into()),
            ],
            seen: true,
            locked: false,
            tags: json!({}),
            live: None,
        }
    }

    pub fn primary() -> State {
        let replica = State::replica();
        State { name: "node-0", role: "primary", row: Some(primary_row()), locked: true, ..replica }
    }

    pub fn stopped() -> State {
        State { state: "stopped", row: None, ..State::replica() }
    }

    pub fn config(mut self, config: &str) -> State {
        self.keys.retain(|(key, _)| *key != "config");
        self.keys.push(("config", config.into()));
        self
    }

    pub fn key(mut self, key: &'static str, value: &str) -> State {
        self.keys.push((key, value.into()));
        self
    }

    pub fn tags(self, tags: Value) -> State {
        State { tags, ..self }
    }

    pub fn cluster(&self) -> Cluster {
        let kv = |(path, value): &(&str, String)| KeyValue {
            path: (*path).into(),
            value: value.clone(),
            revision: Revision("7".into()),
            created: Revision("3".into()),
            session: None,
        };
        Cluster::from_keys(self.keys.iter().map(kv))
    }

    fn server(&self, row: Option<Row>, now: Tick) -> Server {
        let control = Control {
            system_identifier: "7612345678901234567".into(),
            state: ControlState::InProduction,
            timeline: Timeline(2),
            checkpoint: Lsn(1),
            shutdown_end: None,
            shutdown_optime: None,
            min_recovery: Lsn(0),
            min_recovery_timeline: Timeline(0),
            checksums: true,
            wal_log_hints: true,
            backup_label: false,
            recovery_files: false,
        };
        let running = self.state == "running" || self.state == "starting";
        let process = match running {
            true => Process::Running { pid: 1, adopted: false, accepting: Accepting::Yes },
            false => Process::Stopped,
        };
        Server {
            data: DataDir::Present(control),
            process,
            row,
            silent: None,
            fresh: None,
            archiving: false,
            looked_at: now,
        }
    }

    pub fn snapshot(&self, now: Now) -> Snapshot {
        let tags = Tags(self.tags.as_object().cloned().unwrap_or_default());
        let local = Local {
            name: self.name.into(),
            scope: "demo".into(),
            conn_url: "postgres://10.0.0.5:5432/postgres".into(),
            api_url: "http://10.0.0.5:8008/patroni".into(),
            proxy_url: None,
            tags,
            version: "4.1.5",
            binaries: 150_010,
            may_bootstrap: true,
            bootstrap_dcs: Value::Null,
            has_pre_promote: false,
            has_before_stop: false,
            use_pg_rewind: None,
            remove_on_rewind_failure: None,
            remove_on_diverged_timelines: None,
            has_leaderless_method: false,
            watchdog: jogi_core::lease::watchdog::WatchdogMode::Off,
            watchdog_margin: 5,
            start_wait_seconds: 60,
        };
        let cluster = self.cluster();
        let settings = cluster.settings().unwrap_or_default();
        let member = json!({"jogi": {"version": "0.1.0", "protocol": 1}});
        Snapshot {
            local: Arc::new(local),
            taken_at: now,
            state: self.state,
            role: self.role,
            server: Some(Arc::new(self.server(self.row.clone(), now.boot))),
            dynamic: cluster.config.as_ref().map(|c| c.value.clone()).unwrap_or_default(),
            failsafe_topology: cluster.failsafe.clone().filter(|_| self.seen),
            cluster: self.seen.then(|| Arc::new(cluster)),
            settings: Arc::new(settings),
            lease: Lease::default(),
            decision: Decision::new("no action", "all is well").waiting("the next turn"),
            operation: None,
            scheduled_restart: None,
            failsafe_active: false,
            store_last_seen: Wall(1_795_384_990_000_000),
            next_turn: Some(now.boot + Duration::from_secs(10)),
            member: member.as_object().cloned().unwrap_or_default().into(),
            position: Lsn(67_108_992),
            guard: GuardState::default(),
            coming_up: false,
            aside: false,
            watchdog_failed: false,
        }
    }
}

/// A store in memory.
pub struct Memory {
    pub cluster: Mutex<Option<Cluster>>,
    pub written: Mutex<Vec<Write>>,
    pub answer: Mutex<Written>,
}

fn silent<T>(operation: &'static str) -> Result<T, DcsError> {
    Err(DcsError::Timeout { operation, endpoint: "memory".into(), waited: Duration::ZERO })
}

#[async_trait]
impl Dcs for Memory {
    fn smallest_ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    fn sibling(&self) -> Result<Arc<dyn Dcs>, SetupError> {
        Err(SetupError::NoAddress { section: "memory" })
    }

    async fn load(&self, _: Freshness, _: Duration) -> Result<View, DcsError> {
        match &*self.cluster.lock().expect("not poisoned") {
            Some(cluster) => Ok(View { cluster: Arc::new(cluster.clone()), read_at: Tick::ZERO }),
            None => silent("read the cluster"),
        }
    }

    fn watch(self: Arc<Self>) -> mpsc::Receiver<WatchEvent> {
        mpsc::channel(1).1
    }

    async fn open_session(&self, _: Duration, _: Duration) -> Result<Session, DcsError> {
        silent("open")
    }

    async fn beat(&self, _: &Session, _: bool, _: Duration) -> Result<Beat, DcsError> {
        silent("beat")
    }

    async fn close_session(&self, _: &Session, _: Duration) -> Result<(), DcsError> {
        silent("close")
    }

    async fn acquire(&self, _: &Session, _: &Expect, _: Duration) -> Result<Acquired, DcsError> {
        silent("acquire")
    }

    async fn reattach(&self, _: &Session, _: &Revision, _: Duration) -> Result<Acquired, DcsError> {
        silent("reattach")
    }

    async fn release(&self, _: &Revision, _: Option<&str>, _: Duration) -> Result<bool, DcsError> {
        silent("release")
    }

    async fn write(&self, write: &Write, _: Duration) -> Result<Written, DcsError> {
        self.written.lock().expect("not poisoned").push(write.clone());
        Ok(self.answer.lock().expect("not poisoned").clone())
    }

    async fn remove_cluster(&self, _: Duration) -> Result<(), DcsError> {
        silent("remove")
    }
}

struct Fixed(Option<Arc<Server>>);

impl LiveStatus for Fixed {
    fn look(&self) -> BoxFuture<'static, Option<Arc<Server>>> {
        let server = self.0.clone();
        async { server }.boxed()
    }
}

/// A member whose API is served.
pub struct Member {
    pub address: SocketAddr,
    pub store: Arc<Memory>,
    /// What the core was asked.
    pub asked: Arc<Mutex<Vec<Request>>>,
    pub published: Arc<ArcSwap<Snapshot>>,
    pub configuration: watch::Sender<Arc<jogi_config::Local>>,
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A configuration with these lines in its `restapi` section.
pub fn configuration(port: u16, restapi: &str) -> Arc<jogi_config::Local> {
    let text = format!(
        "scope: demo\nname: node-1\nrestapi:\n  listen: 127.0.0.1:{port}\n  connect_address: 10.0.0.5:{port}\n{restapi}\n\
         etcd3:\n  host: 127.0.0.1:2379\n\
         postgresql:\n  listen: 127.0.0.1:5432\n  connect_address: 10.0.0.5:5432\n  data_dir: /tmp/none\n  \
         authentication:\n    superuser: {{username: postgres}}\n    replication: {{username: replicator}}\n"
    );
    let loaded = jogi_config::Local::load(&[("test.yml".into(), text)], &BTreeMap::new());
    Arc::new(loaded.expect("a good configuration").local)
}

impl Member {
    pub async fn serve(state: State) -> Member {
        Member::with(state, "", Reply::new(200, "as you say")).await
    }

    /// `restapi`: more lines of that section; `reply`: what the core answers to everything.
    pub async fn with(state: State, restapi: &str, reply: Reply) -> Member {
        let port = free_port();
        let now = jogi_net::now();
        let published = Arc::new(ArcSwap::from_pointee(state.snapshot(now)));
        let cluster = Mutex::new(Some(state.cluster()));
        let answer = Mutex::new(Written::Done { revision: Revision("8".into()) });
        let store = Arc::new(Memory { cluster, written: Mutex::default(), answer });
        let (requests, inbox) = mpsc::channel(8);
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(core(inbox, Arc::clone(&asked), reply));
        let (configuration, receiver) = watch::channel(configuration(port, restapi));
        let valid_until = if state.locked { now.boot + Duration::from_secs(600) } else { Tick::ZERO };
        let live = state.live.clone().map(|row| Arc::new(state.server(Some(row), now.boot)));
        let options = Options {
            configuration: receiver,
            published: Arc::clone(&published),
            requests,
            dcs: store.clone(),
            keeper: KeeperHandle::fixed(valid_until),
            live: Arc::new(Fixed(live)),
            record: Record::default(),
        };
        serve(options).await.expect("the API is served");
        Member { address: SocketAddr::from(([127, 0, 0, 1], port)), store, asked, published, configuration }
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answered {
        ask(self.address, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, None).await
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

pub async fn ask(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Answered {
    let (method, path, body) = (method.to_owned(), path.to_owned(), body.map(Value::to_string));
    let request = move || http::request(address, &method, &path, body.as_deref(), Duration::from_secs(20));
    tokio::task::spawn_blocking(request).await.expect("an answer")
}

async fn core(mut inbox: mpsc::Receiver<Asked>, asked: Arc<Mutex<Vec<Request>>>, reply: Reply) {
    while let Some((request, answer)) = inbox.recv().await {
        asked.lock().expect("not poisoned").push(request);
        let _ = answer.send(reply.clone());
    }
}
