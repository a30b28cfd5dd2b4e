//! "The host was paused as a whole": agent, guard and PostgreSQL stand still together, and go on together when another member
//! has long led. Nobody can close what stands still; on the thaw the guard's deadline is past, and it kills. Between the thaw
//! and the kill backends may acknowledge commits that the cluster has moved past: this measures for how long.
//!
//! A measurement, to be run alone on the machine: `scripts/proof.sh gap`.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jogi_testkit::freezer::Freezer;
use jogi_testkit::herd::{CHANGE_WITHIN, Herd, Member};
use jogi_testkit::wait;

/// Longer than any freeze here: a client that waits for its commit until the host goes on.
const PATIENT: Duration = Duration::from_secs(120);
const ROUNDS: usize = 12;
/// The promise: nobody is to be surprised by more than this on a machine that is not starved.
const WINDOW_MAX: Duration = Duration::from_secs(2);

/// Clients of one member that write as fast as it answers, each with one session, each with a commit under way at any time.
struct Clients {
    acked: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(member: &Member, count: usize) -> Clients {
        let (acked, stop) = (Arc::<Mutex<Vec<Instant>>>::default(), Arc::new(AtomicBool::new(false)));
        let sessions: Vec<_> = (0..count).map(|_| member.client_session("jogi patient").expect("a session")).collect();
        let threads = sessions.into_iter().map(|session| {
            let (acked, stop) = (Arc::clone(&acked), Arc::clone(&stop));
            thread::spawn(move || {
                let row = "INSERT INTO acks (writer, seq) VALUES ('patient', 1)";
                while !stop.load(Ordering::Relaxed) && session.run(row, PATIENT).is_ok() {
                    acked.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            })
        });
        let threads = threads.collect();
        Clients { acked, stop, threads }
    }

    fn acked_since(&self, since: Instant) -> Vec<Instant> {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|a| **a >= since).copied().collect()
    }

    /// Waits until every session has ended.
    fn wait_end(&self) {
        wait::until("the sessions of the frozen host end", CHANGE_WITHIN, || {
            self.threads.iter().all(JoinHandle::is_finished)
        });
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a client panicked");
        }
    }
}

/// What one freeze did.
#[derive(Clone, Copy)]
struct Window {
    /// From the thaw to the last acknowledgement by the thawed host.
    open: Duration,
    rows: usize,
    /// From the thaw to the end of the last process of its PostgreSQL.
    closed: Duration,
}

/// Freezes the leader's host, waits until another member takes writes, thaws it.
fn freeze_and_thaw(herd: &Herd, sessions: usize) -> Window {
    herd.wait_healthy();
    let old = herd.wait_leader();
    let writers = herd.start_writers();
    let clients = Clients::start(old, sessions);
    let started = Instant::now();
    wait::until("the clients write", CHANGE_WITHIN, || clients.acked_since(started).len() > sessions * 5);
    let freezer = herd.freezer_of(old);
    let servers = old.server_processes();

    let since = Instant::now();
    freezer.freeze();
    writers.wait_ack_by_other(&old.name, since, CHANGE_WITHIN);
    let thawed = Instant::now();
    freezer.thaw();
    let closed = wait::value("the end of the thawed server", CHANGE_WITHIN, || {
        let gone = servers.iter().all(|p| !jogi_testkit::process::alive(*p));
        gone.then(|| thawed.elapsed())
    });
    clients.wait_end();
    drop(freezer);
    let late = clients.acked_since(thawed);
    let open = late.iter().max().map_or(Duration::ZERO, |last| *last - thawed);
    let window = Window { open, rows: late.len(), closed };
    drop(writers);
    herd.wait_healthy();
    assert_ne!(herd.lock_holder().as_ref(), Some(&old.name), "the thawed member took the lock back");
    window
}

fn measure(sessions: usize) {
    let Some(spec) = common::spec() else { return };
    if !Freezer::possible() {
        eprintln!("SKIPPED: no cgroup freezer that we may use");
        return;
    }
    let herd = spec.start();
    let mut windows: Vec<Window> = (0..ROUNDS).map(|_| freeze_and_thaw(&herd, sessions)).collect();
    windows.sort_by_key(|w| w.open);
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let each: Vec<String> =
        windows.iter().map(|w| format!("{:.1}/{}/{:.1}", ms(w.open), w.rows, ms(w.closed))).collect();
    let worst = windows.last().copied().expect("a round");
    let rows = windows.iter().map(|w| w.rows).max().unwrap_or(0);
    eprintln!(
        "{sessions} sessions, {ROUNDS} thaws: the last late commit after {:.1} ms (median), {:.1} ms (most), {rows} rows at \
         most; each (ms to the last commit / rows / ms until no process was left): {}",
        ms(windows[ROUNDS / 2].open),
        ms(worst.open),
        each.join(" ")
    );
    assert!(worst.open < WINDOW_MAX, "a thawed host acknowledged commits for {:?}", worst.open);
}

#[test]
#[ignore = "a measurement: scripts/proof.sh gap"]
fn window_after_the_thaw_with_one_session() {
    measure(1);
}

#[test]
#[ignore = "a measurement: scripts/proof.sh gap"]
fn window_after_the_thaw_with_eight_sessions() {
    measure(8);
}
