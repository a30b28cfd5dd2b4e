//! A real Consul, one server, on free ports of 127.0.0.1 in a temporary directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{Running, free_ports};
use crate::{http, require, wait};

/// Consul on a loaded machine takes its time to elect itself.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The folder of Consul's program: on the path, or taken out of a package by `scripts/stores.sh`. `None`, with the reason
/// in the list of tests that did not run, where it cannot be had: no failure in CI either.
#[must_use]
pub fn find() -> Option<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(|| installed("consul")) {
        Ok(bin) => Some(bin.join("consul")),
        Err(why) => {
            require::did_not_run(why);
            None
        }
    }
}

fn installed(program: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/stores.sh");
    let out = Command::new(&script).arg(program).output().map_err(|e| format!("{}: {e}", script.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match out.status.success() {
        true => Ok(text(&out.stdout).into()),
        false => Err(text(&out.stderr)),
    }
}

/// A running Consul whose shortest session is 1 s. Dropping it kills it and removes its data.
pub struct Consul {
    dir: TempDir,
    ports: Vec<u16>,
    extra: String,
    running: Running,
}

impl Consul {
    /// # Panics
    /// When it does not come up; with what it said.
    pub fn start() -> Consul {
        Consul::with("session_ttl_min = \"1s\"")
    }

    /// With these lines of configuration (HCL).
    pub fn with(configuration: &str) -> Consul {
        let dir = tempfile::Builder::new().prefix("jogi-consul-").tempdir().expect("a temporary directory");
        let consul = Consul { dir, ports: free_ports(3), extra: configuration.to_owned(), running: Running::default() };
        consul.spawn();
        consul
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    /// A request to its API behind the client's back: status and body.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        let reply = http::request(self.address(), method, path, body, ANSWER_WITHIN);
        (reply.status, reply.body)
    }

    pub fn freeze(&self) {
        self.running.freeze();
    }

    pub fn thaw(&self) {
        self.running.thaw();
    }

    pub fn kill(&self) {
        self.running.kill();
    }

    /// Starts it again on the same ports and data, and waits until it answers.
    pub fn restart(&self) {
        self.kill();
        self.spawn();
    }

    fn spawn(&self) {
        let [http, server, serf] = self.ports[..] else { unreachable!("three ports") };
        let log = self.dir.path().join("log");
        let mut command = Command::new(find().expect("a test asks for Consul first"));
        command
            .args(["agent", "-server", "-bootstrap-expect=1", "-bind=127.0.0.1", "-client=127.0.0.1"])
            .args(["-dns-port=-1", "-grpc-port=-1", "-serf-wan-port=-1", "-disable-host-node-id"])
            .arg(format!("-http-port={http}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-serf-lan-port={serf}"))
            .arg(format!("-data-dir={}", self.dir.path().join("data").display()))
            .args(["-hcl", "performance { raft_multiplier = 1 }", "-hcl", &self.extra]);
        self.running.start(command, &log);
        let ready = wait::poll(READY_WITHIN, || self.is_ready().then_some(()));
        if ready.is_none() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("Consul did not answer within {READY_WITHIN:?}; it said:\n{said}");
        }
    }

    fn is_ready(&self) -> bool {
        std::net::TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_ok()
            && self.request("GET", "/v1/status/leader", None).1.contains(':')
            && [200, 403, 404].contains(&self.request("GET", "/v1/kv/none?consistent", None).0)
    }
}
