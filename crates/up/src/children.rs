//! The processes of a herd: started in sessions of their own, ended in order, started again when they end
//! by themselves.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::account::Account;

/// One process and how to start it again.
pub struct Service {
    pub name: String,
    program: std::path::PathBuf,
    args: Vec<String>,
    dir: std::path::PathBuf,
    log: std::path::PathBuf,
    account: Account,
    child: Option<Child>,
    started_at: Instant,
    failures: u32,
}

/// A service that ran this long is not failing over and over.
const SETTLED: Duration = Duration::from_secs(30);

impl Service {
    pub fn new(name: &str, program: &Path, args: Vec<String>, dir: &Path, log: &Path, account: &Account) -> Service {
        Service {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            dir: dir.to_owned(),
            log: log.to_owned(),
            account: account.clone(),
            child: None,
            started_at: Instant::now(),
            failures: 0,
        }
    }

    pub fn start(&mut self) -> anyhow::Result<()> {
        // No link that the herd's account may have put there: we may be root.
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        self.account.own_open(&log, &self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.account.apply(&mut command);
        // SAFETY: only async-signal-safe calls between fork and exec. A session of its own keeps the terminal's
        // Ctrl-C away: the herd is ended in order instead. When this program dies, the child is asked to end.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        self.started_at = Instant::now();
        Ok(())
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        self.failures = if self.started_at.elapsed() > SETTLED { 1 } else { self.failures + 1 };
        Some(status)
    }

    /// The pause before it is started again: it doubles while the service keeps ending.
    pub fn pause(&self) -> Duration {
        Duration::from_millis(250) * 2u32.pow(self.failures.min(7))
    }

    fn signal(&self, signal: i32) {
        if let Some(pid) = self.pid().and_then(|p| i32::try_from(p).ok()) {
            // SAFETY: a plain system call; the child has not been waited for, so the id is still its own.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Asks it to end and waits; kills it after `patience`. `false`: it had to be killed.
    pub async fn stop(&mut self, patience: Duration) -> bool {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + patience;
        while self.child.is_some() {
            if self.ended().is_some() {
                return true;
            }
            if Instant::now() >= deadline {
                self.signal(libc::SIGKILL);
                while self.child.is_some() && self.ended().is_none() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}
