//! A real etcd, one server or several, on free ports of 127.0.0.1 in a temporary directory.
//!
//! Servers are stopped, frozen and killed by their process id, and die with the test's thread that started
//! them: a test that is killed itself leaves none behind.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{free_ports, start};
use crate::{http, process, wait};

/// etcd on a loaded machine takes seconds to elect itself.
const READY_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Certificate, key and CA of servers that speak TLS.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
    /// Clients must show a certificate of this CA.
    pub client_certificates: bool,
}

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// Servers; 0 counts as 1.
    pub servers: usize,
    pub tls: Option<EtcdTls>,
    /// Election timeout in milliseconds; etcd's own default when not given.
    pub election_ms: Option<u32>,
    pub extra: Vec<String>,
}

/// A running etcd. Dropping it kills all servers and removes their data.
pub struct Etcd {
    dir: TempDir,
    options: EtcdOptions,
    servers: Vec<Server>,
}

struct Server {
    name: String,
    client: u16,
    peer: u16,
    child: Mutex<Option<Child>>,
}

impl Etcd {
    /// One server.
    ///
    /// # Panics
    /// When it does not come up; with what it said. So do all methods here when etcd does not do its part.
    pub fn start() -> Etcd {
        Etcd::with(EtcdOptions::default())
    }

    pub fn with(options: EtcdOptions) -> Etcd {
        let dir = tempfile::Builder::new().prefix("jogi-etcd-").tempdir().expect("a temporary directory");
        let count = options.servers.max(1);
        let ports = free_ports(count * 2);
        let servers = (0..count)
            .map(|i| Server {
                name: format!("etcd{i}"),
                client: ports[2 * i],
                peer: ports[2 * i + 1],
                child: Mutex::new(None),
            })
            .collect();
        let etcd = Etcd { dir, options, servers };
        for i in 0..count {
            etcd.spawn(i);
        }
        for i in 0..count {
            etcd.wait_ready(i);
        }
        etcd
    }

    /// `http://127.0.0.1:PORT` of each server.
    pub fn urls(&self) -> Vec<String> {
        (0..self.servers.len()).map(|i| self.url(i)).collect()
    }

    pub fn url(&self, server: usize) -> String {
        let protocol = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{protocol}://{}", self.address(server))
    }

    pub fn address(&self, server: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.servers[server].client))
    }

    pub fn pid(&self, server: usize) -> i32 {
        let child = self.child(server);
        let id = child.as_ref().map(Child::id).unwrap_or_else(|| panic!("etcd server {server} is not running"));
        i32::try_from(id).expect("process ids are small")
    }

    /// SIGSTOP: connections are kept and accepted, nothing is answered.
    pub fn freeze(&self, server: usize) {
        process::freeze(self.pid(server));
    }

    pub fn thaw(&self, server: usize) {
        process::thaw(self.pid(server));
    }

    /// SIGKILL, and its end.
    pub fn kill(&self, server: usize) {
        if let Some(mut child) = self.child(server).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a killed server again on the same ports and data, and waits until it answers.
    pub fn restart(&self, server: usize) {
        self.kill(server);
        self.spawn(server);
        self.wait_ready(server);
    }

    /// Starts a killed server on the same ports with its data gone: a new etcd cluster.
    pub fn restart_empty(&self, server: usize) {
        self.kill(server);
        fs::remove_dir_all(self.data(server)).expect("etcd's data can be removed");
        self.spawn(server);
        self.wait_ready(server);
    }

    /// POST to the gateway of one server (`/v3/kv/range`), for what a test does behind the client's back. Plain
    /// HTTP only.
    pub fn post(&self, server: usize, path: &str, body: &Value) -> Value {
        self.post_as(server, path, body).unwrap_or_else(|e| panic!("POST {path} {body}: {e}"))
    }

    fn post_as(&self, server: usize, path: &str, body: &Value) -> Result<Value, String> {
        let reply = http::request(self.address(server), "POST", path, Some(&body.to_string()), ANSWER_WITHIN);
        if reply.status != 200 {
            return Err(format!("status {}: {}", reply.status, reply.body));
        }
        serde_json::from_str(&reply.body).map_err(|e| e.to_string())
    }

    /// The store's revision now.
    pub fn revision(&self, server: usize) -> i64 {
        let answer = self.post(server, "/v3/kv/range", &json!({"key": "AA=="}));
        answer["header"]["revision"].as_str().and_then(|r| r.parse().ok()).expect("a revision in the header")
    }

    /// Forgets all history before now.
    pub fn compact(&self, server: usize) {
        let revision = self.revision(server);
        let body = json!({"revision": revision.to_string(), "physical": true});
        self.post(server, "/v3/kv/compaction", &body);
    }

    /// Switches authentication on, with the user `root` and this password.
    pub fn enable_auth(&self, password: &str) {
        self.post(0, "/v3/auth/user/add", &json!({"name": "root", "password": password}));
        self.post(0, "/v3/auth/role/add", &json!({"name": "root"}));
        self.post(0, "/v3/auth/user/grant", &json!({"user": "root", "role": "root"}));
        self.post(0, "/v3/auth/enable", &json!({}));
    }

    /// gRPC requests that a server has begun to handle since its start, the gateway's included.
    pub fn requests(&self, server: usize) -> u64 {
        let reply = http::request(self.address(server), "GET", "/metrics", None, ANSWER_WITHIN);
        let counts = reply.body.lines().filter(|l| l.starts_with("grpc_server_started_total{"));
        counts.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// What a server wrote.
    pub fn log(&self, server: usize) -> String {
        fs::read_to_string(self.log_file(server)).unwrap_or_default()
    }

    fn child(&self, server: usize) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.servers[server].child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn data(&self, server: usize) -> PathBuf {
        self.dir.path().join(&self.servers[server].name)
    }

    fn log_file(&self, server: usize) -> PathBuf {
        self.dir.path().join(format!("{}.log", self.servers[server].name))
    }

    fn spawn(&self, server: usize) {
        let this = &self.servers[server];
        let client = self.url(server);
        let peer = |s: &Server| format!("http://127.0.0.1:{}", s.peer);
        let cluster: Vec<String> = self.servers.iter().map(|s| format!("{}={}", s.name, peer(s))).collect();
        let mut command = Command::new("etcd");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args(["--name", &this.name, "--unsafe-no-fsync", "--data-dir"])
            .arg(self.data(server))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(this), "--initial-advertise-peer-urls", &peer(this)])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
            .args(&self.options.extra);
        if let Some(ms) = self.options.election_ms {
            let heartbeat = (ms / 10).max(1).to_string();
            command.args(["--election-timeout", &ms.to_string(), "--heartbeat-interval", &heartbeat]);
        }
        if let Some(tls) = &self.options.tls {
            command.arg("--cert-file").arg(&tls.cert).arg("--key-file").arg(&tls.key);
            command.arg("--trusted-ca-file").arg(&tls.ca);
            if tls.client_certificates {
                command.arg("--client-cert-auth");
            }
        }
        *self.child(server) = Some(start(command, &self.log_file(server)));
    }

    fn wait_ready(&self, server: usize) {
        let ready = wait::poll(READY_WITHIN, || self.is_ready(server).then_some(()));
        if ready.is_none() {
            panic!("etcd did not answer within {READY_WITHIN:?}; it said:\n{}", self.log(server));
        }
    }

    /// Over TLS the log has to tell, because this module speaks none.
    fn is_ready(&self, server: usize) -> bool {
        if self.options.tls.is_some() {
            let log = self.log(server);
            return log.contains("ready to serve client requests") || log.contains("serving client requests");
        }
        let listens = std::net::TcpStream::connect_timeout(&self.address(server), Duration::from_secs(1)).is_ok();
        listens
            && match self.post_as(server, "/v3/kv/range", &json!({"key": "AA=="})) {
                Ok(_) => true,
                // With authentication switched on this is the answer of a server that is well.
                Err(why) => why.contains("user name is empty"),
            }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for server in 0..self.servers.len() {
            self.kill(server);
        }
    }
}
