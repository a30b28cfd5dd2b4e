//! Clients that write all the time, one per member, and remember every row that was acknowledged.
//!
//! What they remember answers the two questions of every fault: is an acknowledged row missing, and did two members
//! acknowledge at once? The second is asked by causes, not by clock reading alone: a member must not acknowledge a row that
//! was *sent* after another member had *acknowledged* one, until the lead is its own again. Delays of the test's own
//! threads cannot feign that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Herd, Member, member};
use crate::sql::{Door, Session};
use crate::wait;

/// Between two rows of a writer.
const PACE: Duration = Duration::from_millis(5);
/// After a refusal.
const AGAIN: Duration = Duration::from_millis(15);
/// A commit that is not acknowledged by then is given up: it counts neither as there nor as lost.
const ACK_WITHIN: Duration = Duration::from_secs(3);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// What a kept session calls itself.
pub const KEPT: &str = "jogi kept";

/// A row that the client was told is committed.
#[derive(Clone, Debug)]
pub struct Ack {
    pub writer: String,
    pub seq: u64,
    pub sent: Instant,
    pub acked: Instant,
}

/// What all writers remember.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Ack>>>);

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Ack>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this journal and another remember together.
    pub fn and(&self, other: &Journal) -> Journal {
        let mut both = self.all();
        both.extend(other.all());
        Journal(Arc::new(Mutex::new(both)))
    }

    /// All acknowledged rows that were sent after `since`, by time of acknowledgement.
    pub fn since(&self, since: Instant) -> Vec<Ack> {
        let mut acks: Vec<Ack> = self.lock().iter().filter(|a| a.sent >= since).cloned().collect();
        acks.sort_by_key(|a| a.acked);
        acks
    }

    pub fn all(&self) -> Vec<Ack> {
        self.lock().clone()
    }

    pub fn last_of(&self, writer: &str) -> Option<Instant> {
        self.lock().iter().filter(|a| a.writer == writer).map(|a| a.acked).max()
    }
}

/// For how long after the first acknowledgement by another member `old` still acknowledged rows that were sent after
/// it. Zero: never two at once.
pub fn overlap(acks: &[Ack], old: &str) -> Duration {
    let of_old = |a: &&Ack| a.writer == old || a.writer == kept_name(old);
    let Some(first_other) = acks.iter().filter(|a| !of_old(a)).map(|a| a.acked).min() else {
        return Duration::ZERO;
    };
    let late = acks.iter().filter(of_old).filter(|a| a.sent > first_other).map(|a| a.acked).max();
    late.map_or(Duration::ZERO, |late| late - first_other)
}

/// The writers of a herd. They stop when dropped.
pub struct Writers {
    journal: Journal,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// One per member. Each writes whenever its member accepts it, and connects again for ever.
    pub(super) fn start(herd: &Herd) -> Writers {
        let (journal, stop) = (Journal::default(), Arc::new(AtomicBool::new(false)));
        let threads = herd.members().iter().map(|m| spawn(m, Mode::ForEver, &journal, &stop).thread).collect();
        Writers { journal, stop, threads }
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits until `member` has acknowledged a row that was sent after `since`.
    #[track_caller]
    pub fn wait_ack_by(&self, member: &str, since: Instant, within: Duration) {
        wait::until(&format!("an acknowledged write on {member}"), within, || {
            self.journal.lock().iter().any(|a| a.writer == member && a.sent >= since)
        });
    }

    /// Waits until a member other than `old` has acknowledged a row that was sent after `since`; returns which.
    #[track_caller]
    pub fn wait_ack_by_other(&self, old: &str, since: Instant, within: Duration) -> String {
        wait::value(&format!("an acknowledged write on another member than {old}"), within, || {
            self.journal.lock().iter().find(|a| a.writer != old && a.sent >= since).map(|a| a.writer.clone())
        })
    }

    /// Waits until `rows` more rows are acknowledged, by whomever.
    #[track_caller]
    pub fn wait_rows(&self, rows: usize, within: Duration) {
        let goal = self.journal.lock().len() + rows;
        wait::until(&format!("{rows} more acknowledged rows"), within, || self.journal.lock().len() >= goal);
    }

    /// Stops them and waits for their end.
    pub fn finish(mut self) -> Journal {
        self.end();
        self.journal.clone()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking(), "a writer panicked");
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.end();
    }
}

/// A client with one session, opened before a fault and never opened again. It writes through it until it breaks.
pub struct KeptSession {
    journal: Journal,
    stop: Arc<AtomicBool>,
    ended: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl KeptSession {
    pub(super) fn start(member: &Member) -> KeptSession {
        let (journal, stop) = (Journal::default(), Arc::new(AtomicBool::new(false)));
        let started = spawn(member, Mode::OneSession, &journal, &stop);
        KeptSession { journal, stop, ended: started.ended, thread: Some(started.thread) }
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Why the session ended; `None` while it goes on.
    pub fn ended(&self) -> Option<String> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[track_caller]
    pub fn wait_rows(&self, rows: usize, within: Duration) {
        let goal = self.journal.lock().len() + rows;
        wait::until(&format!("{rows} more rows through the kept session"), within, || {
            self.journal.lock().len() >= goal
        });
    }

    #[track_caller]
    pub fn wait_end(&self, within: Duration) -> String {
        wait::value("the end of the kept session", within, || self.ended())
    }
}

impl Drop for KeptSession {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking(), "the kept session's thread panicked");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    ForEver,
    OneSession,
}

impl Mode {
    fn application(self) -> &'static str {
        match self {
            Mode::ForEver => "jogi writer",
            Mode::OneSession => KEPT,
        }
    }
}

struct Started {
    thread: JoinHandle<()>,
    ended: Arc<Mutex<Option<String>>>,
}

struct Writer {
    name: String,
    door: Door,
    mode: Mode,
    journal: Journal,
    stop: Arc<AtomicBool>,
    ended: Arc<Mutex<Option<String>>>,
    seq: u64,
}

/// Starts a writer on a thread that is where the clients are.
fn spawn(member: &Member, mode: Mode, journal: &Journal, stop: &Arc<AtomicBool>) -> Started {
    let ended = Arc::new(Mutex::new(None));
    let mut writer = Writer {
        name: member.name.clone(),
        door: member.client_door(),
        mode,
        journal: journal.clone(),
        stop: Arc::clone(stop),
        ended: Arc::clone(&ended),
        seq: 0,
    };
    let entered = member.place.enter_clients_on_new_thread(move || writer.run());
    Started { thread: entered, ended }
}

impl Writer {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn run(&mut self) {
        while !self.stopped() {
            let why = match Session::open(&self.door, &member::superuser(self.mode.application()), CONNECT_WITHIN) {
                Ok(session) => self.write(&session),
                Err(error) => error.to_string(),
            };
            if self.mode == Mode::OneSession {
                *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                return;
            }
            thread::sleep(AGAIN);
        }
    }

    /// Writes through one session until it breaks; says why it did.
    fn write(&mut self, session: &Session) -> String {
        while !self.stopped() {
            self.seq += 1;
            let sql = format!("INSERT INTO acks (writer, seq) VALUES ('{}', {})", self.row_name(), self.seq);
            let sent = Instant::now();
            match session.run(&sql, ACK_WITHIN) {
                Ok(_) => self.remember(sent),
                Err(error) if error.session_survives() => thread::sleep(AGAIN),
                Err(error) => return error.to_string(),
            }
            thread::sleep(PACE);
        }
        "the test ended".to_owned()
    }

    fn remember(&self, sent: Instant) {
        let ack = Ack { writer: self.row_name(), seq: self.seq, sent, acked: Instant::now() };
        self.journal.lock().push(ack);
    }

    /// Rows of kept sessions are told apart from those of the ordinary writer on the same member.
    fn row_name(&self) -> String {
        match self.mode {
            Mode::ForEver => self.name.clone(),
            Mode::OneSession => kept_name(&self.name),
        }
    }
}

fn kept_name(member: &str) -> String {
    format!("{member}-kept")
}

/// The acknowledged rows that `member` does not have, each with its writer.
pub(super) fn missing(member: &Member, acks: &[Ack]) -> BTreeMap<String, BTreeSet<u64>> {
    let rows = member.sql("SELECT writer, seq FROM acks");
    let there: BTreeSet<(String, u64)> = rows
        .into_iter()
        .filter_map(|row| {
            let mut columns = row.into_iter().flatten();
            Some((columns.next()?, columns.next()?.parse().ok()?))
        })
        .collect();
    let mut missing: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for ack in acks.iter().filter(|a| !there.contains(&(a.writer.clone(), a.seq))) {
        missing.entry(ack.writer.clone()).or_default().insert(ack.seq);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_at_once_are_told_by_what_was_sent_after_an_acknowledgement() {
        let t0 = Instant::now();
        let at = |ms: u64| t0 + Duration::from_millis(ms);
        let ack = |writer: &str, sent: u64, acked: u64| Ack {
            writer: writer.to_owned(),
            seq: sent,
            sent: at(sent),
            acked: at(acked),
        };
        for (case, acks, wanted) in [
            ("handed over", vec![ack("a", 0, 1), ack("b", 5, 6), ack("b", 7, 8)], 0),
            ("the old one's answer was only read late", vec![ack("a", 4, 20), ack("b", 5, 6)], 0),
            ("both at once", vec![ack("a", 0, 1), ack("b", 5, 6), ack("a", 7, 9)], 3),
            ("nobody else", vec![ack("a", 0, 1), ack("a", 2, 3)], 0),
        ] {
            assert_eq!(overlap(&acks, "a"), Duration::from_millis(wanted), "{case}");
        }
    }
}
