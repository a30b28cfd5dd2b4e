//! `jogi store` as a process on a port of 127.0.0.1. Dropping it kills it; so does the end of the test's thread.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{http, process, wait};

const READY_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A store that runs, or was killed.
pub struct OwnStore {
    jogi: PathBuf,
    data: PathBuf,
    more: Vec<String>,
    at: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl OwnStore {
    /// Starts the binary's `store` on a data directory, with more options, and waits until it is well.
    ///
    /// # Panics
    /// When it does not come up; with what it said.
    pub fn start(jogi: impl Into<PathBuf>, data: &Path, more: &[&str]) -> OwnStore {
        let more = more.iter().map(|&option| option.to_owned()).collect();
        let store =
            OwnStore { jogi: jogi.into(), data: data.to_owned(), more, at: free_address(), child: Mutex::new(None) };
        store.restart();
        store
    }

    pub fn address(&self) -> SocketAddr {
        self.at
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What it wrote since its first start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self) -> i32 {
        let id = self.child().as_ref().map(Child::id);
        id.and_then(|id| i32::try_from(id).ok()).unwrap_or_else(|| panic!("the store is not running"))
    }

    /// SIGSTOP: connections are kept and accepted, nothing is answered.
    pub fn freeze(&self) {
        process::freeze(self.pid());
    }

    pub fn thaw(&self) {
        process::thaw(self.pid());
    }

    /// SIGKILL, and its end.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills it if it runs and starts it on its data and its port.
    pub fn restart(&self) {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).expect("its log can be opened");
        let mut command = Command::new(&self.jogi);
        command.args(["store", "--listen-client", &self.at.to_string(), "--data-dir"]).arg(&self.data).args(&self.more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // SAFETY: prctl is a bare system call, so it is safe between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        *self.child() = Some(command.spawn().unwrap_or_else(|e| panic!("starting jogi store: {e}")));
        let well = || http::request(self.at, "GET", "/health", None, ANSWER_WITHIN).status == 200;
        if wait::poll(READY_WITHIN, || well().then_some(())).is_none() {
            panic!("the store does not come up; it said:\n{}", self.log());
        }
    }
}

impl Drop for OwnStore {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Nobody listens there now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}
