//! A bench for one `Ha`: hands in events, keeps the effects that are open, answers them by name.

use std::sync::Arc;
use std::time::Duration;

use jogi_core::ha::server::{Accepting, Control, ControlState, DataDir, Process, Row};
use jogi_core::ha::{
    Act, Cover, Effect, EffectId, Event, Failure, Found, Generation, Ha, Lease, Lineage, Local, Lock, Outcome, Server,
    Taken, Yield,
};
use jogi_core::view::{Cluster, Key, KeyValue, Revision, Session, Tags, Written};
use jogi_core::{History, Lsn, Now, Tick, Timeline, Wall, Weaken};
use serde_json::{Value, json};

pub const SYSTEM: &str = "7612345678901234567";

pub struct Bench {
    pub ha: Ha,
    now: Now,
    open: Vec<Effect>,
    /// Names of all effects since the last `settle`.
    seen: Vec<String>,
    last: Option<EffectId>,
    keys: Cluster,
    config: Option<Value>,
    look: Option<Server>,
    soft: Tick,
    pid: u32,
}

pub fn rev(text: &str) -> Revision {
    Revision(text.into())
}

fn local() -> Local {
    Local {
        name: "a".into(),
        scope: "s".into(),
        conn_url: "postgres://10.0.0.1:5432/postgres".into(),
        api_url: "http://10.0.0.1:8008/patroni".into(),
        proxy_url: None,
        tags: Tags::default(),
        version: "4.1.5",
        binaries: 150_020,
        may_bootstrap: true,
        bootstrap_dcs: json!({"ttl": 5, "loop_wait": 1}),
        has_pre_promote: false,
        has_before_stop: false,
        use_pg_rewind: Some(true),
        remove_on_rewind_failure: None,
        remove_on_diverged_timelines: None,
        has_leaderless_method: false,
        watchdog: jogi_core::lease::watchdog::WatchdogMode::Off,
        watchdog_margin: 5,
        start_wait_seconds: 60,
    }
}

/// The cluster with these keys (paths below the base path).
pub fn view(keys: &[(&str, &str)]) -> Cluster {
    let key = |(path, value): &(&str, &str)| KeyValue {
        path: (*path).into(),
        value: (*value).into(),
        revision: rev("1"),
        created: rev("1"),
        session: (path.starts_with("members/") || *path == "leader").then(|| Session("s1".into())),
    };
    Cluster::from_keys(keys.iter().map(key))
}

/// Members a (us) and b, on timeline 1.
pub fn herd(leader: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    herd_on(leader, 1)
}

pub fn herd_on(leader: Option<&'static str>, timeline: u32) -> Vec<(&'static str, &'static str)> {
    let b = if timeline == 1 {
        r#"{"conn_url":"postgres://10.0.0.2:5432/postgres","api_url":"http://10.0.0.2:8008/patroni","state":"running","role":"primary","version":"4.1.5","timeline":1}"#
    } else {
        r#"{"conn_url":"postgres://10.0.0.2:5432/postgres","api_url":"http://10.0.0.2:8008/patroni","state":"running","role":"primary","version":"4.1.5","timeline":2}"#
    };
    let mut keys = vec![("initialize", SYSTEM), ("config", r#"{"ttl":5,"loop_wait":1}"#), ("members/b", b)];
    keys.extend(leader.map(|name| ("leader", name)));
    keys
}

pub fn control(timeline: u32, state: ControlState, end: u64) -> Control {
    Control {
        system_identifier: SYSTEM.into(),
        state,
        timeline: Timeline(timeline),
        checkpoint: Lsn(end - 10),
        shutdown_end: (state == ControlState::ShutDown).then_some(Lsn(end)),
        shutdown_optime: (state == ControlState::ShutDown).then_some(Lsn(end - 10)),
        min_recovery: Lsn(0),
        min_recovery_timeline: Timeline(0),
        checksums: true,
        wal_log_hints: true,
        backup_label: false,
        recovery_files: false,
    }
}

fn server(data: DataDir, process: Process, row: Option<Row>) -> Server {
    Server { data, process, row, silent: None, fresh: None, archiving: false, looked_at: Tick(0) }
}

pub fn empty() -> Server {
    server(DataDir::Empty, Process::Stopped, None)
}

pub fn stopped(control: Control) -> Server {
    server(DataDir::Present(control), Process::Stopped, None)
}

/// A postmaster that has written the shutdown checkpoint and waits for its last processes.
pub fn lingering(control: Control) -> Server {
    let process = Process::Running { pid: 100, adopted: false, accepting: Accepting::NotYet };
    server(DataDir::Present(control), process, None)
}

pub fn primary(timeline: u32, flushed: u64) -> Server {
    running(
        control(timeline, ControlState::InProduction, flushed),
        Row { timeline: Some(Timeline(timeline)), flushed: Lsn(flushed), server_version: 100_000, ..Row::default() },
    )
}

pub fn standby(timeline: u32, position: u64) -> Server {
    running(
        control(timeline, ControlState::InArchiveRecovery, position),
        Row {
            in_recovery: true,
            timeline: Some(Timeline(timeline)),
            received: Lsn(position),
            replayed: Lsn(position),
            server_version: 100_000,
            ..Row::default()
        },
    )
}

fn running(control: Control, row: Row) -> Server {
    let process = Process::Running { pid: 100, adopted: false, accepting: Accepting::Yes };
    server(DataDir::Present(control), process, Some(row))
}

pub fn replica_document(timeline: u32, position: u64) -> Value {
    json!({"role": "replica", "state": "running", "timeline": timeline,
        "xlog": {"received_location": position, "replayed_location": position}})
}

pub fn lineage(timeline: u32, switches: &[(u32, u64)]) -> Lineage {
    let text: String = switches.iter().map(|(t, at)| format!("{t}\t{}\tx\n", Lsn(*at))).collect();
    Lineage {
        timeline: Some(Timeline(timeline)),
        history: History::parse(&text),
        in_recovery: Some(false),
        ..Lineage::default()
    }
}

/// A leader that a switchover to b is asked of, and that has made its checkpoint: the signal comes next.
pub fn handing_over_to_b() -> Bench {
    let mut b = Bench::leading();
    let mut keys = herd(Some("a"));
    keys.push(("failover", r#"{"leader":"a","member":"b"}"#));
    b.see(view(&keys));
    b.answered("b", replica_document(1, 2000));
    b.expect("checkpoint");
    b.done(Yield::Done);
    b
}

impl Bench {
    /// An agent that has just begun, with a session and nothing known.
    pub fn begin(found: Found) -> Bench {
        Bench::weakened(found, Weaken::default())
    }

    /// As [`Bench::begin`], with protections taken away.
    pub fn weakened(found: Found, weaken: Weaken) -> Bench {
        let now = Now { boot: Tick(1_000_000_000), wall: Wall(1_800_000_000_000_000) };
        let mut bench = Bench {
            ha: Ha::new(local()).weakened(weaken),
            now,
            open: Vec::new(),
            seen: Vec::new(),
            last: None,
            keys: Cluster::default(),
            config: None,
            look: None,
            soft: Tick::ZERO,
            pid: 100,
        };
        bench.tell(Event::Began(found));
        bench.tell(Event::Lease(Lease { session: Some(Session("s1".into())), ..Lease::default() }));
        bench
    }

    /// A standby that follows b, at rest.
    pub fn following() -> Bench {
        let mut b = Bench::begin(Found::default());
        b.looked(standby(1, 1000));
        b.see(view(&herd(Some("b"))));
        b.settle();
        b
    }

    /// The leader with b as its standby, at rest.
    pub fn leading() -> Bench {
        let mut b = Bench::begin(Found::default());
        b.looked(primary(1, 2000));
        b.see(view(&herd(None)));
        b.expect("acquire");
        b.acquired();
        b.see(view(&herd(Some("a"))));
        b.settle();
        b
    }

    pub fn tell(&mut self, event: Event) {
        self.ha.handle(event, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.ha.poll_effect() {
            self.seen.push(name(&effect.act));
            self.open.push(effect);
        }
    }

    /// A linearizable reading.
    pub fn see(&mut self, cluster: Cluster) {
        self.view(cluster, true);
    }

    /// A change that the watch brought.
    pub fn see_watched(&mut self, cluster: Cluster) {
        self.view(cluster, false);
    }

    fn view(&mut self, cluster: Cluster, linearizable: bool) {
        self.tick(1);
        let mut cluster = cluster;
        if let Some(config) = &self.config {
            cluster.config = Some(jogi_core::view::Versioned { value: config.clone().into(), revision: rev("9") });
        }
        self.keys = cluster.clone();
        let read_at = self.now.boot;
        self.tell(Event::View { cluster: Arc::new(cluster), read_at, linearizable });
        if linearizable {
            self.answer_all("load", Ok(Yield::Done));
        }
    }

    pub fn settings(&mut self, config: Value) {
        self.config = Some(config);
        let cluster = self.keys.clone();
        self.see(cluster);
        self.settle();
    }

    /// Answers the open look; one that comes later sees the same.
    pub fn looked(&mut self, mut server: Server) {
        self.tick(1);
        server.looked_at = self.now.boot;
        self.saw(server);
    }

    /// The open look shows this, and began when it says.
    pub fn saw(&mut self, server: Server) {
        self.look = Some(server.clone());
        let Some(id) = self.take("look") else { panic!("no look is open; open: {:?}", self.names()) };
        self.tell(Event::Done { id, outcome: Ok(Yield::Looked(Box::new(server))) });
    }

    pub fn look_again(&mut self) {
        if let Some(server) = self.look.clone()
            && self.names().contains(&"look".to_owned())
        {
            self.looked(server);
        }
    }

    pub fn answered(&mut self, _member: &str, document: Value) {
        let Some(id) = self.take("ask") else { panic!("nobody is asked; open: {:?}", self.names()) };
        self.tell(Event::Done { id, outcome: Ok(Yield::Answered(document)) });
    }

    pub fn unreachable(&mut self, _member: &str) {
        let Some(id) = self.take("ask") else { panic!("nobody is asked; open: {:?}", self.names()) };
        self.tell(Event::Done { id, outcome: Err(Failure::Unreachable("no route".into())) });
    }

    /// The named effect is open; the next `done` or `failed` answers it.
    pub fn expect(&mut self, wanted: &str) -> Act {
        let found = self.open.iter().find(|e| name(&e.act) == wanted || e.act.name() == wanted);
        let Some(effect) = found else {
            panic!("{wanted} is not open; open: {:?}; {}", self.names(), self.ha.last_decision())
        };
        self.last = Some(effect.id);
        effect.act.clone()
    }

    /// The question to this member is open; the next `done` or `failed` answers it.
    pub fn expect_of(&mut self, member: &str) {
        let asks = |act: &Act| matches!(act, Act::AskFailsafe { member: asked, .. } if asked.as_str() == member);
        let Some(effect) = self.open.iter().find(|e| asks(&e.act)) else {
            panic!("{member} is not asked; open: {:?}; {}", self.names(), self.ha.last_decision())
        };
        self.last = Some(effect.id);
    }

    /// What is open, oldest first.
    pub fn open_acts(&self) -> impl Iterator<Item = &Act> {
        self.open.iter().map(|effect| &effect.act)
    }

    pub fn now(&self) -> Tick {
        self.now.boot
    }

    pub fn both(&self) -> Now {
        self.now
    }

    /// Time passes and everything is answered kindly.
    pub fn live(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 500 {
            self.pass(500);
            self.answer_kindly(|_| false);
        }
    }

    /// Answers everything else kindly until the named effect is open.
    pub fn settle_until(&mut self, wanted: &str) {
        self.answer_kindly(|act| name(act) == wanted);
    }

    pub fn never(&mut self, unwanted: &[&str], why: &str) {
        for word in unwanted {
            let hit = self.seen.iter().find(|s| s.starts_with(word));
            assert!(hit.is_none(), "{word} happened although {why}: {:?}", self.seen);
        }
    }

    pub fn done(&mut self, brought: Yield) {
        self.outcome(Ok(brought));
    }

    pub fn failed(&mut self, failure: Failure) {
        self.outcome(Err(failure));
    }

    fn outcome(&mut self, outcome: Outcome) {
        let Some(id) = self.last.take() else { panic!("nothing was expected") };
        self.open.retain(|e| e.id != id);
        self.tell(Event::Done { id, outcome });
    }

    pub fn acquired(&mut self) {
        let lock = self.new_lock();
        self.done(Yield::Acquired(Taken::Yes {
            generation: lock.generation,
            created: lock.created.clone(),
            valid_until: lock.valid_until,
            soft: lock.soft,
        }));
    }

    fn new_lock(&mut self) -> Lock {
        let valid_until = self.now.boot + Duration::from_millis(4750);
        self.soft = self.now.boot + Duration::from_millis(4125);
        let renewed = self.now.boot;
        Lock {
            generation: Generation(3),
            created: rev("1"),
            valid_until,
            soft: self.soft,
            renewed,
            cover: Cover::Lease,
        }
    }

    pub fn renew(&mut self) {
        let lock = Some(self.new_lock());
        self.tell(Event::Lease(Lease { session: Some(Session("s1".into())), lock, lost: None }));
    }

    /// The lock that the core believes to hold.
    pub fn lock(&self) -> Option<Lock> {
        self.ha.snapshot(self.now).lease.lock
    }

    pub fn lease_lost(&mut self, why: &str) {
        let lease = Lease { session: Some(Session("s1".into())), lock: None, lost: Some(why.into()) };
        self.tell(Event::Lease(lease));
    }

    pub fn exited(&mut self) {
        let pid = self.pid;
        self.tell(Event::PostmasterExited { pid, status: "signal 9".into() });
    }

    /// Time passes with every deadline of the core met.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now.boot + Duration::from_millis(milliseconds);
        while let Some((at, _)) = self.ha.poll_timeout() {
            if at > end {
                break;
            }
            self.now.boot = self.now.boot.max(at);
            self.ha.handle_timeout(self.now);
            self.drain();
        }
        self.now.boot = end;
    }

    pub fn pass_until_soft(&mut self) {
        let wait = self.soft.since(self.now.boot).as_millis() as u64;
        self.pass(wait + 1);
    }

    /// Time passes and nobody calls the core.
    pub fn stall(&mut self, milliseconds: u64) {
        self.tick(milliseconds);
        self.ha.handle_timeout(self.now);
        self.drain();
    }

    /// Answers everything kindly until nothing is open, then forgets what was seen.
    pub fn settle(&mut self) {
        self.answer_kindly(|_| false);
        assert!(self.open.is_empty(), "it does not come to rest: {:?}", self.names());
        self.seen.clear();
    }

    fn answer_kindly(&mut self, stop: impl Fn(&Act) -> bool) {
        for _ in 0..50 {
            let Some(effect) = self.open.first().cloned() else { break };
            if self.open.iter().any(|effect| stop(&effect.act)) {
                break;
            }
            match &effect.act {
                Act::Look => {
                    let server = self.look.clone().expect("something was looked at before");
                    self.looked(server);
                }
                Act::Load => {
                    let cluster = self.keys.clone();
                    self.see(cluster);
                    self.open.retain(|e| e.id != effect.id);
                }
                act => {
                    let brought = match act {
                        Act::Write(write) => {
                            self.keep(&write.key, write.value.as_deref());
                            Yield::Wrote(Written::Done { revision: rev("1") })
                        }
                        Act::Configure { .. } => Yield::Configured { restart: false, unchanged: true },
                        Act::Compare { .. } => Yield::Lineage(lineage(1, &[])),
                        Act::Ask { .. } => Yield::Answered(replica_document(1, 1000)),
                        _ => Yield::Done,
                    };
                    self.open.retain(|e| e.id != effect.id);
                    self.tell(Event::Done { id: effect.id, outcome: Ok(brought) });
                }
            }
        }
    }

    /// A member key that was written is there in the next reading.
    fn keep(&mut self, key: &Key, value: Option<&str>) {
        if let (Key::Member(_), Some(value)) = (key, value) {
            let path = key.path();
            let extra = view(&[(&path, value)]);
            self.keys.members.extend(extra.members);
            let cluster = self.keys.clone();
            self.see(cluster);
        }
    }

    pub fn notes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.ha.poll_note()).map(|n| n.text).collect()
    }

    /// Lets every open effect of this name fail; how many.
    pub fn fail_all(&mut self, wanted: &str, failure: Failure) -> usize {
        let mut failed = 0;
        while let Some(id) = self.take(wanted) {
            self.tell(Event::Done { id, outcome: Err(failure.clone()) });
            failed += 1;
            if failed > 100 {
                panic!("{wanted} is asked for again at once");
            }
        }
        failed
    }

    pub fn is_open(&self, wanted: &str) -> bool {
        self.open.iter().any(|e| e.act.name() == wanted)
    }

    fn answer_all(&mut self, wanted: &str, outcome: Outcome) {
        while let Some(id) = self.take(wanted) {
            self.tell(Event::Done { id, outcome: outcome.clone() });
        }
    }

    fn take(&mut self, wanted: &str) -> Option<EffectId> {
        let at = self.open.iter().position(|e| e.act.name() == wanted)?;
        Some(self.open.remove(at).id)
    }

    fn names(&self) -> Vec<String> {
        self.open.iter().map(|e| name(&e.act)).collect()
    }

    fn tick(&mut self, milliseconds: u64) {
        self.now.boot = self.now.boot + Duration::from_millis(milliseconds);
    }
}

/// `write KEY` for writes, the plain name otherwise.
fn name(act: &Act) -> String {
    match act {
        Act::Write(write) => format!("write {}", write.key.path()),
        other => other.name().to_owned(),
    }
}
