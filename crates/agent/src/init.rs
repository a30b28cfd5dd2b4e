//! When we are process 1 of a container: a simple init around the agent.
//!
//! Process 1 inherits every orphan of the container and has to reap it, and signals without a handler do not
//! reach it. The agent itself must not wait for processes that it did not start. So process 1 starts the agent
//! as its child, reaps whatever ends, passes signals on, and ends with the agent's code.

use std::io;
use std::mem::MaybeUninit;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

/// What is passed on to the agent.
const PASSED_ON: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Set for the agent that an init has started, so that it does not start one itself.
const MARK: &str = "JOGI_UNDER_INIT";

/// As process 1: runs this program again as a child and stays its init. Otherwise returns at once.
pub fn become_init_if_first() {
    if std::process::id() != 1 || std::env::var_os(MARK).is_some() {
        return;
    }
    match run() {
        Ok(code) => std::process::exit(code),
        // Going on without an init is better than no agent.
        Err(error) => eprintln!("process 1 cannot start the agent as its child ({error}); going on without an init"),
    }
}

fn run() -> io::Result<i32> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "jogi".into());
    let mut agent = Command::new(std::env::current_exe()?);
    use std::os::unix::process::CommandExt as _;
    agent.arg0(name).args(arguments).env(MARK, "1");
    // Blocked before the child exists, so that no signal is lost; the child takes none of that over.
    let signals = block()?;
    let all = signals;
    // SAFETY: one system call on a value made before the fork.
    unsafe { agent.pre_exec(move || mask(libc::SIG_UNBLOCK, &all)) };
    let child = agent.spawn()?;
    let agent = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)).ok_or(io::ErrorKind::InvalidData)?;
    loop {
        let signal = wait_for(&signals)?;
        if signal == Signal::CHILD {
            if let Some(code) = reap(agent)? {
                return Ok(code);
            }
        } else {
            // It may have ended this very moment; its SIGCHLD follows.
            let _ = rustix::process::kill_process(agent, signal);
        }
    }
}

/// Reaps everything that has ended; the agent's code when it is among it.
fn reap(agent: Pid) -> io::Result<Option<i32>> {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == agent => ended = code(status),
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(ended),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A shell's code for how a process ended.
fn code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}

fn block() -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: plain C calls on a set of our own, initialised by the first one.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in PASSED_ON.into_iter().chain([Signal::CHILD]) {
            libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        }
        set.assume_init()
    };
    mask(libc::SIG_BLOCK, &set)?;
    Ok(set)
}

fn mask(how: libc::c_int, signals: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: a valid set; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(how, std::ptr::from_ref(signals), std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn wait_for(signals: &libc::sigset_t) -> io::Result<Signal> {
    let mut number = 0;
    // SAFETY: both pointers are valid for the call.
    match unsafe { libc::sigwait(std::ptr::from_ref(signals), &raw mut number) } {
        0 => Signal::from_named_raw(number).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
