//! The kernel's freezer: a set of processes stands still as one, and goes on as one. So a hypervisor's pause of a host looks
//! from inside, clocks excepted: they go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait;

/// The longest that the kernel may take to stop processes that run.
const FREEZE_WITHIN: Duration = Duration::from_secs(20);

/// Where the two versions of control groups are usually mounted, and the file whose writing freezes.
const VERSION_1: (&str, &str) = ("/sys/fs/cgroup/freezer", "freezer.state");
const VERSION_2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A control group of its own for processes to be frozen. Thawed and removed when dropped: a frozen process dies of no signal.
#[derive(Debug)]
pub struct Freezer {
    root: PathBuf,
    dir: PathBuf,
    version: u8,
}

impl Freezer {
    /// Whether this machine has one that we may use.
    pub fn possible() -> bool {
        root().is_some()
    }

    /// # Errors
    /// When no freezer is mounted, or it may not be written.
    pub fn create(name: &str) -> io::Result<Freezer> {
        let (root, version) = root().ok_or_else(|| io::Error::other("no cgroup freezer is mounted that we may use"))?;
        let dir = root.join(name);
        fs::create_dir(&dir)?;
        Ok(Freezer { root, dir, version })
    }

    /// Takes processes in; their later children are in as well.
    ///
    /// # Errors
    /// When one cannot be moved. One that is gone is none.
    pub fn take_in(&self, pids: &[i32]) -> io::Result<()> {
        move_all(&self.dir, pids)
    }

    /// Everything that is in it.
    pub fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Stops all of it and waits until all of it stands.
    ///
    /// # Panics
    /// When something in it goes on.
    #[track_caller]
    pub fn freeze(&self) {
        self.set(true).unwrap_or_else(|e| panic!("freezing {}: {e}", self.dir.display()));
        wait::until("all in the freezer stand still", FREEZE_WITHIN, || self.is_frozen());
    }

    /// Lets all of it go on; answers when the kernel has been told.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn thaw(&self) {
        self.set(false).unwrap_or_else(|e| panic!("thawing {}: {e}", self.dir.display()));
    }

    fn set(&self, frozen: bool) -> io::Result<()> {
        let (file, word) = match (self.version, frozen) {
            (1, true) => (VERSION_1.1, "FROZEN"),
            (1, false) => (VERSION_1.1, "THAWED"),
            (_, true) => ("cgroup.freeze", "1"),
            (_, false) => ("cgroup.freeze", "0"),
        };
        fs::write(self.dir.join(file), word)
    }

    fn is_frozen(&self) -> bool {
        let (file, word) = if self.version == 1 { (VERSION_1.1, "FROZEN") } else { ("cgroup.events", "frozen 1") };
        fs::read_to_string(self.dir.join(file)).is_ok_and(|text| text.lines().any(|line| line.trim() == word))
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // Never panics: it may run while a test's panic unwinds. What cannot be thawed is seen by whoever wants it dead.
        let _ = self.set(false);
        // New processes may appear in it while the others leave.
        wait::poll(FREEZE_WITHIN, || {
            let _ = move_all(&self.root, &self.processes());
            fs::remove_dir(&self.dir).ok()
        });
    }
}

fn root() -> Option<(PathBuf, u8)> {
    let usable = |root: &Path, file: &str| {
        let probe = root.join(format!("jogi-probe-{}", std::process::id()));
        let made = fs::create_dir(&probe).is_ok();
        let found = made && probe.join(file).exists();
        // Made by us a moment ago, and empty.
        let _ = fs::remove_dir(&probe);
        found
    };
    let first = Path::new(VERSION_1.0);
    if usable(first, VERSION_1.1) {
        return Some((first.to_owned(), 1));
    }
    let second = VERSION_2.map(PathBuf::from).into_iter().find(|root| usable(root, "cgroup.freeze"))?;
    Some((second, 2))
}

fn move_all(group: &Path, pids: &[i32]) -> io::Result<()> {
    let gone = |e: &io::Error| e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
    for pid in pids {
        match fs::write(group.join("cgroup.procs"), pid.to_string()) {
            Ok(()) => {}
            Err(e) if gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process;

    #[test]
    fn what_is_frozen_does_not_even_die_before_it_is_thawed() {
        if !crate::require::can(&[crate::require::Need::Root]) || !Freezer::possible() {
            return;
        }
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep starts");
        let pid = i32::try_from(child.id()).expect("a pid");
        let freezer = Freezer::create(&format!("jogi-test-{}", std::process::id())).expect("a freezer");
        freezer.take_in(&[pid]).expect("taken in");
        assert_eq!(freezer.processes(), [pid]);
        freezer.freeze();
        freezer.thaw();
        process::kill_all(&[pid]);
        child.wait().expect("reaped");
        let dir = freezer.dir.clone();
        drop(freezer);
        assert!(!dir.exists());
    }
}
