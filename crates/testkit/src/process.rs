//! Processes as `/proc` shows them, and signals whose effect is looked at before a test goes on.
//!
//! A killed process that nobody has reaped counts as gone: where process 1 reaps late, zombies are of no account.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use rustix::process::Signal;

use crate::wait;

/// The longest that the kernel may take to carry out a signal that cannot be caught.
const SIGNAL_WITHIN: Duration = Duration::from_secs(10);

/// All processes of this machine that this process may see.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The fields of `/proc/PID/stat` after the command's name, which may itself hold spaces and parentheses.
fn stat(path: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// The state letter: `R`, `S`, `D`, `T`, `Z` …
pub fn state(pid: i32) -> Option<char> {
    stat(&format!("/proc/{pid}/stat"))?.first()?.chars().next()
}

pub fn parent(pid: i32) -> Option<i32> {
    stat(&format!("/proc/{pid}/stat"))?.get(1)?.parse().ok()
}

/// Clock ticks since boot at which the process started; tells apart two processes of one number.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(&format!("/proc/{pid}/stat"))?.get(19)?.parse().ok()
}

/// Neither gone nor a zombie.
pub fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|s| s != 'Z' && s != 'X')
}

pub fn children(pid: i32) -> Vec<i32> {
    all().into_iter().filter(|p| parent(*p) == Some(pid) && alive(*p)).collect()
}

/// The process and everything below it that is alive.
pub fn tree(pid: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> = all().into_iter().filter_map(|p| Some((p, parent(p)?))).collect();
    let mut tree = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> =
            parents.iter().filter(|(p, up)| tree.contains(up) && !tree.contains(p)).map(|(p, _)| *p).collect();
        if more.is_empty() {
            break;
        }
        tree.extend(more);
    }
    tree.into_iter().filter(|p| alive(*p)).collect()
}

pub fn cwd(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The command line, its words parted by spaces. PostgreSQL's processes write what they do there.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// The processes that live in the network namespace bound to `path`.
pub fn in_network_namespace(path: &Path) -> Vec<i32> {
    let Ok(wanted) = fs::metadata(path).map(|m| (m.dev(), m.ino())) else { return Vec::new() };
    let lives_there = |pid: &i32| {
        fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| (m.dev(), m.ino()) == wanted) && alive(*pid)
    };
    all().into_iter().filter(lives_there).collect()
}

/// The processes whose working directory is `dir` or below it.
pub fn working_below(dir: &Path) -> Vec<i32> {
    all().into_iter().filter(|p| cwd(*p).is_some_and(|c| c.starts_with(dir)) && alive(*p)).collect()
}

/// Sends a signal without looking at what it does. `false` when there is no such process.
pub fn send(pid: i32, signal: Signal) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|p| rustix::process::kill_process(p, signal).is_ok())
}

/// Kills all of them and waits until none is alive.
///
/// # Panics
/// When one is still there: the fault that the test wants did not take effect.
#[track_caller]
pub fn kill_all(pids: &[i32]) {
    for pid in pids {
        send(*pid, Signal::KILL);
    }
    wait::until(&format!("death of {pids:?} after SIGKILL"), SIGNAL_WITHIN, || pids.iter().all(|p| !alive(*p)));
}

/// Stops a process and waits until every thread of it stands still.
///
/// # Panics
/// When it does not stop, or is gone.
#[track_caller]
pub fn freeze(pid: i32) {
    assert!(send(pid, Signal::STOP), "no process {pid} to freeze");
    wait::until(&format!("process {pid} stopped"), SIGNAL_WITHIN, || all_threads_stopped(pid));
}

/// Lets a stopped process go on.
///
/// # Panics
/// When it stays stopped. A process that is gone, or dies at once, is no error.
#[track_caller]
pub fn thaw(pid: i32) {
    send(pid, Signal::CONT);
    wait::until(&format!("process {pid} runs again"), SIGNAL_WITHIN, || !alive(pid) || state(pid) != Some('T'));
}

fn all_threads_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let states: Vec<Option<String>> =
        threads.flatten().map(|t| stat(&t.path().join("stat").to_string_lossy())?.first().cloned()).collect();
    !states.is_empty() && states.iter().all(|s| s.as_deref() == Some("T"))
}

/// Files below `/dev/shm` that the processes have mapped: PostgreSQL leaves them behind when it is killed.
pub fn shared_memory_files(pids: &[i32]) -> BTreeSet<PathBuf> {
    let maps = pids.iter().filter_map(|p| fs::read_to_string(format!("/proc/{p}/maps")).ok());
    maps.flat_map(|text| {
        let paths = text.lines().filter_map(|line| Some(PathBuf::from(&line[line.find("/dev/shm/")?..])));
        paths.collect::<Vec<_>>()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_frozen_thawed_and_killed() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep starts");
        let pid = i32::try_from(child.id()).expect("a pid");
        let me = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(parent(pid), Some(me));
        assert!(children(me).contains(&pid) && tree(me).contains(&pid));
        assert!(start_time(pid).is_some_and(|t| t > 0));
        freeze(pid);
        assert_eq!(state(pid), Some('T'));
        thaw(pid);
        assert!(alive(pid));
        kill_all(&[pid]);
        assert!(!alive(pid), "a zombie counts as gone");
        child.wait().expect("reaped");
        assert!(!send(pid, Signal::TERM));
    }
}
