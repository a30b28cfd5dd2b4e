//! A server made, started, stopped and removed with this crate's own functions.

use std::ffi::CString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};
use std::time::Duration;

use jogi_config::postgres::effective_postgresql;
use jogi_core::SlotName;
use jogi_core::ha::server::Server;
use jogi_core::ha::{Mode, Setup, Upstream};
use jogi_pg::binaries::Binaries;
use jogi_pg::connect::{Connection, Purpose, Target, TextRow};
use jogi_pg::instance::Instance;
use jogi_pg::look::{Known, Looker};
use jogi_pg::postmaster::{self, Signal};
use jogi_pg::programs::{Cancel, clone_data, initdb};
use jogi_pg::{files, process, roles};
use jogi_testkit::require::{self, Need};
use jogi_testkit::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest that a step on a busy machine may take.
pub const LONG: Duration = Duration::from_secs(60);

/// Whether the machine has what these tests need. As root the test process becomes the user `postgres` for good:
/// PostgreSQL refuses root, and so all these tests do the same.
#[must_use]
pub fn can() -> bool {
    static DROP: Once = Once::new();
    let can = require::can(&[Need::PostgreSql, Need::PostgresUser]);
    if can {
        DROP.call_once(become_postgres);
    }
    can
}

fn become_postgres() {
    std::env::set_current_dir("/tmp").expect("there is a /tmp");
    if !require::am_root() {
        return;
    }
    let users = fs::read_to_string("/etc/passwd").expect("readable");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("required above");
    let fields: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().expect("a number")).collect();
    let name = CString::new("postgres").expect("no NUL");
    // SAFETY: plain system calls; the C library applies them to every thread of this process.
    unsafe {
        assert_eq!(libc::initgroups(name.as_ptr(), fields[1]), 0);
        assert_eq!(libc::setgid(fields[1]), 0);
        assert_eq!(libc::setuid(fields[0]), 0);
    }
}

/// Directories of one test, removed with it.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("jogi-pg-").tempdir_in("/tmp").expect("a directory in /tmp");
        Place { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A member of a herd in this place, not yet made.
    pub fn member(&self, name: &str) -> Member {
        self.member_with(name, json!({}), json!({}))
    }

    /// `local`: merged over the whole local configuration; `dynamic`: the `config` key.
    pub fn member_with(&self, name: &str, local: Value, dynamic: Value) -> Member {
        let port = free_port();
        let mut config = json!({
            "scope": "demo", "name": name, "etcd3": {"host": "127.0.0.1:2379"},
            "restapi": {"listen": "127.0.0.1:8008", "connect_address": "127.0.0.1:8008"},
            "bootstrap": {
                "initdb": [{"auth-local": "trust"}, {"auth-host": "scram-sha-256"}, "data-checksums"],
                "pg_hba": ["host replication all 127.0.0.1/32 scram-sha-256"],
            },
            "postgresql": {
                "listen": format!("127.0.0.1:{port}"), "connect_address": format!("127.0.0.1:{port}"),
                "data_dir": self.path().join(name), "pgpass": self.path().join(format!("{name}.pgpass")),
                "bin_dir": require::postgres_bin().expect("required"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "super'secret"},
                    "replication": {"username": "replicator", "password": "rep:secret\\"},
                    "rewind": {"username": "rewinder", "password": "rewind secret"},
                },
                "parameters": {
                    "unix_socket_directories": self.path(), "fsync": "off", "shared_buffers": "16MB",
                    "autovacuum": "off", "wal_retrieve_retry_interval": "100ms",
                },
            },
        });
        merge(&mut config, &local);
        Member::new(&config, dynamic)
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// One server and what is needed to drive it.
pub struct Member {
    pub instance: Instance,
    pub looker: Looker,
    child: Option<Child>,
}

impl Member {
    fn new(config: &Value, dynamic: Value) -> Member {
        let text = config.to_string();
        let loaded = jogi_config::Local::load(&[("test.yml".into(), text)], &Default::default());
        let local = loaded.unwrap_or_else(|e| panic!("the test's configuration: {e}")).local;
        let effective = effective_postgresql(&dynamic, &local);
        let binaries =
            Binaries::locate(effective.bin_dir.as_deref(), &effective.bin_names).expect("PostgreSQL is installed");
        let instance = Instance::new(Arc::new(local), Arc::new(dynamic), Arc::new(binaries));
        Member { instance, looker: Looker::new(Purpose::Heartbeat), child: None }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.instance.data_dir().to_owned()
    }

    pub fn port(&self) -> u16 {
        self.instance.local.postgresql.listen.port
    }

    pub fn set_dynamic(&mut self, dynamic: Value) {
        self.instance = self.instance.with_dynamic(Arc::new(dynamic));
    }

    pub fn setup(&self, mode: Mode) -> Setup {
        Setup { mode, dynamic: self.instance.dynamic.clone(), synchronous_standby_names: None, feedback: false }
    }

    /// This member as somebody else's upstream.
    pub fn upstream(&self, slot: Option<&str>) -> Upstream {
        Upstream {
            others: Vec::new(),
            member: Some(self.instance.local.name.clone()),
            host: "127.0.0.1".into(),
            port: self.port(),
            slot: slot.map(|slot| SlotName(slot.into())),
        }
    }

    pub fn follow(&self, upstream: &Member, slot: Option<&str>) -> Setup {
        self.setup(Mode::Standby { upstream: Some(upstream.upstream(slot)) })
    }

    /// initdb, start as a primary, roles.
    pub async fn bootstrap(&mut self) {
        initdb(&self.instance, LONG, &mut Cancel::never()).await.expect("initdb");
        let setup = self.setup(Mode::Primary);
        self.start(&setup).await;
        roles::post_bootstrap(&self.instance, LONG, &mut Cancel::never()).await.expect("post-bootstrap");
    }

    /// A copy of `of`, running and following it.
    pub async fn replicate(&mut self, of: &Member, slot: Option<&str>) {
        clone_data(&self.instance, Some(&of.upstream(None)), false, LONG, &mut Cancel::never()).await.expect("a copy");
        assert!(self.is_marked_standby(), "whoever starts it now starts a standby");
        let setup = self.follow(of, slot);
        self.start(&setup).await;
    }

    pub fn is_marked_standby(&self) -> bool {
        ["standby.signal", "recovery.conf"].iter().any(|name| self.instance.data_dir().join(name).exists())
    }

    /// Writes the files, starts the postmaster and waits until it answers.
    pub async fn start(&mut self, setup: &Setup) {
        files::configure(&self.instance, setup, None).expect("configured");
        self.launch(setup);
        self.wait_for("an answer", |server| server.row.is_some()).await;
    }

    pub fn launch(&mut self, setup: &Setup) {
        let spec = process::start_spec(&self.instance, setup).expect("a command line");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let child = Command::new(&spec.program)
            .args(&spec.args)
            .env_clear()
            .envs(spec.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the postmaster starts");
        self.child = Some(child);
    }

    fn log_file(&self) -> PathBuf {
        self.data_dir().with_extension("log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub async fn look(&mut self) -> Server {
        self.looker.look(&self.instance, &Known::default(), Duration::from_secs(5)).await
    }

    pub async fn wait_for(&mut self, what: &str, condition: impl Fn(&Server) -> bool) -> Server {
        let until = std::time::Instant::now() + LONG;
        loop {
            let server = self.look().await;
            if condition(&server) {
                return server;
            }
            assert!(std::time::Instant::now() < until, "no {what}: {server:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn sql(&self, sql: &str) -> Vec<TextRow> {
        // As a client: without our session settings.
        let target = Target { settings: Vec::new(), ..self.instance.local_target(Purpose::Work) };
        let mut connection = Connection::open(&target, LONG).await.expect("a connection");
        connection.query(sql, LONG).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The first column of the first row.
    pub async fn value(&self, sql: &str) -> String {
        self.sql(sql).await.first().and_then(|row| row.get(0)).unwrap_or_default().to_owned()
    }

    pub fn postmaster_pid(&self) -> i32 {
        let found = postmaster::find(self.instance.data_dir()).expect("readable");
        found.expect("a postmaster").process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        assert!(postmaster::signal(self.instance.data_dir(), signal).expect("signalled"), "no postmaster");
    }

    /// A fast stop, waited for.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Kills the postmaster and everything of it.
    pub fn crash(&mut self) {
        let processes = jogi_pg::fence::processes_of(self.instance.data_dir()).expect("readable");
        self.end(Signal::KILL);
        let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
        jogi_testkit::process::kill_all(&pids);
    }

    /// Kills the postmaster alone.
    pub fn end_postmaster(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        self.looker.reset();
        self.signal(signal);
        let mut child = self.child.take().expect("it was started");
        wait::value("the end of the postmaster", LONG, || child.try_wait().expect("ours"));
    }

    /// A program of PostgreSQL's, its output.
    pub fn tool(&self, name: &str, args: &[&str]) -> (String, String) {
        let program = self.instance.binaries.postgres.with_file_name(name);
        let output = Command::new(program).args(args).env("LC_ALL", "C").output().expect("it starts");
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let processes = jogi_pg::fence::processes_of(self.instance.data_dir()).unwrap_or_default();
        for process in processes {
            jogi_testkit::process::send(process.pid, jogi_testkit::process::Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
