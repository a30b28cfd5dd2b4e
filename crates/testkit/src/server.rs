//! What every store's server under test needs: a process that ends with its test, and ports of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::process;

/// Ports below the kernel's range for outgoing connections, so that a restarted server finds its own free.
const PORTS: (u16, u16) = (20_000, 32_000);

/// A server's process, while there is one.
#[derive(Default)]
pub(crate) struct Running(Mutex<Option<Child>>);

impl Running {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn start(&self, command: Command, log: &Path) {
        *self.child() = Some(start(command, log));
    }

    /// # Panics
    /// When it does not run.
    pub(crate) fn pid(&self) -> i32 {
        let id = self.child().as_ref().map(Child::id).expect("the server runs");
        i32::try_from(id).expect("process ids are small")
    }

    /// SIGSTOP: connections are kept and accepted, nothing is answered.
    pub(crate) fn freeze(&self) {
        process::freeze(self.pid());
    }

    pub(crate) fn thaw(&self) {
        process::thaw(self.pid());
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server that writes to `log` and dies with this thread.
pub(crate) fn start(mut command: Command, log: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    // SAFETY: prctl is a bare system call, so it is safe between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}"))
}

/// Ports on which nobody listens now. The beginning is taken from the process id and the number of calls, so
/// that tests running side by side do not try the same ones.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(PORTS.1 - PORTS.0);
    let call = CALLS.fetch_add(7919, Ordering::Relaxed);
    let mut seed = std::process::id().wrapping_add(call).wrapping_mul(2_654_435_761);
    let mut held = Vec::new();
    while held.len() < count {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let port = PORTS.0 + u16::try_from((seed >> 8) % span).expect("the span fits");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push(listener);
        }
    }
    held.iter().map(|l| l.local_addr().expect("bound").port()).collect()
}
