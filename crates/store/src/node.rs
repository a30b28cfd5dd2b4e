//! The node: one thread that brings commands to the log and applies them.
//!
//! Commands that wait together go to the disk together. Nobody hears of one, and no reader sees it, before it is there.
//! Keep-alives of many leases are one entry.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use jogi_kv::rpc::{CompactionRequest, LeaseKeepAliveResponse, ResponseHeader, TxnRequest};
use jogi_kv::{Answer, Command, Millis, Operation, Refused, Store};
use tokio::sync::{oneshot, watch};
use tracing::{error, warn};

use crate::clock::Clock;
use crate::data::{Data, DataError, Identity, State, write_snapshot};
use crate::log::{Entry, LogError};

/// Commands that wait for the disk; above it a client is told that there are too many.
const WAITING: usize = 4096;
/// Commands that go to the disk together.
const TOGETHER: usize = 512;
/// No more is taken to them from here on: with the longest request behind it, far from what a frame may hold.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;
/// Each try begins a file of the log and copies the state.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(30);
/// The time stands in the log: an idle store writes it so often, so that a restart does not lengthen leases by more.
const IDLE: Duration = Duration::from_secs(60);

/// How big a store may get.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of keys, values and their history: above it nothing is put.
    pub quota_bytes: u64,
    /// Revisions of history that are kept; twice as many are there before the older are forgotten.
    pub history: i64,
    /// Log after which a snapshot is made.
    pub snapshot_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { quota_bytes: 64 * 1024 * 1024, history: 10_000, snapshot_bytes: 16 * 1024 * 1024 }
    }
}

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the log cannot be written: {0}")]
    Log(LogError),
    #[error("the node's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// A running node; its thread ends with the last [`Handle`].
pub struct Node {
    pub handle: Handle,
    /// Comes when the thread has ended, with the reason when it could not go on.
    pub ended: oneshot::Receiver<Result<(), NodeError>>,
}

/// What the API asks of a node.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    proposals: SyncSender<Proposal>,
}

struct Shared {
    identity: Identity,
    term: u64,
    clock: Clock,
    store: RwLock<Store>,
    index: watch::Sender<u64>,
    log_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
}

/// Writes of the log, and the time that they took in all.
#[derive(Clone, Copy, Debug)]
pub struct Syncs {
    pub count: u64,
    pub total: Duration,
}

struct Proposal {
    operation: Operation,
    answer: oneshot::Sender<Result<Answer, Refused>>,
}

impl Node {
    /// Opens the data and begins to lead, with an entry of a new term.
    pub fn start(dir: PathBuf, name: &str, limits: Limits) -> Result<Node, NodeError> {
        let (data, State { store, term, snapshot_index }) = Data::open(&dir, name)?;
        let term = term + 1;
        let clock = Clock::from(store.clock());
        let shared = Arc::new(Shared {
            identity: data.identity.clone(),
            term,
            clock,
            store: RwLock::new(store),
            index: watch::Sender::new(data.log.next_index() - 1),
            log_bytes: AtomicU64::new(data.log.bytes()),
            syncs: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
        });
        let (proposals, waiting) = sync_channel(WAITING);
        let mut writer = Writer {
            shared: shared.clone(),
            data,
            limits,
            snapshot_index,
            snapshot: None,
            snapshot_again: Instant::now(),
        };
        writer.lead()?;
        let (end, ended) = oneshot::channel();
        let work = move || {
            let result = writer.run(&waiting);
            if let Err(error) = &result {
                error!(%error, "the store ends");
            }
            // Nobody waits any more: then nobody needs to hear.
            let _ = end.send(result);
        };
        std::thread::Builder::new().name("store".into()).spawn(work).map_err(NodeError::Thread)?;
        Ok(Node { handle: Handle { shared, proposals }, ended })
    }
}

impl Handle {
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    pub fn term(&self) -> u64 {
        self.shared.term
    }

    pub fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    pub fn log_bytes(&self) -> u64 {
        self.shared.log_bytes.load(Ordering::Relaxed)
    }

    pub fn syncs(&self) -> Syncs {
        let micros = self.shared.sync_micros.load(Ordering::Relaxed);
        Syncs { count: self.shared.syncs.load(Ordering::Relaxed), total: Duration::from_micros(micros) }
    }

    /// The state. Only what is on the disk is in it. Not to be held across anything slow.
    pub fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.shared.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the last applied entry; changes with each.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.shared.index.subscribe()
    }

    /// Fills in which server answers.
    pub fn header(&self, header: Option<ResponseHeader>) -> Option<ResponseHeader> {
        let revision = header.map_or(0, |header| header.revision);
        let Identity { cluster_id, member_id, .. } = self.shared.identity;
        Some(ResponseHeader { cluster_id, member_id, revision, raft_term: self.shared.term })
    }

    /// Returns when it is on the disk and applied, or refused.
    pub async fn propose(&self, operation: Operation) -> Result<Answer, Refused> {
        let (answer, answered) = oneshot::channel();
        match self.proposals.try_send(Proposal { operation, answer }) {
            Ok(()) => answered.await.unwrap_or(Err(Refused::Stopped)),
            Err(TrySendError::Full(_)) => Err(Refused::TooManyRequests),
            Err(TrySendError::Disconnected(_)) => Err(Refused::Stopped),
        }
    }
}

/// The thread's own.
struct Writer {
    shared: Arc<Shared>,
    data: Data,
    limits: Limits,
    /// The entry up to which the newest snapshot goes.
    snapshot_index: u64,
    /// One that is being written, and up to which entry.
    snapshot: Option<(u64, std::thread::JoinHandle<Result<(), DataError>>)>,
    /// After one that failed, the next is not begun before.
    snapshot_again: Instant,
}

impl Writer {
    /// A leader's first entry is of its own term: what came before counts from then on.
    fn lead(&mut self) -> Result<(), NodeError> {
        self.commit(vec![Operation::Nothing]).map(|_| ()).map_err(NodeError::Log)
    }

    fn run(&mut self, waiting: &Receiver<Proposal>) -> Result<(), NodeError> {
        loop {
            match waiting.recv_timeout(self.until_next()) {
                Ok(first) => self.together(first, waiting)?,
                Err(RecvTimeoutError::Timeout) => self.on_time()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.expire()?;
            self.keep_small()?;
        }
    }

    fn until_next(&self) -> Duration {
        let deadline = self.read(Store::next_lease_deadline);
        let left = deadline.map(|deadline| Duration::from_millis(deadline.saturating_sub(self.shared.clock.now())));
        left.map_or(IDLE, |left| left.min(IDLE))
    }

    fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.shared.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what waits besides `first`, one disk write for all.
    fn together(&mut self, first: Proposal, waiting: &Receiver<Proposal>) -> Result<(), NodeError> {
        let mut bytes = first.operation.size();
        let mut proposals = vec![first];
        while proposals.len() < TOGETHER && bytes < TOGETHER_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.operation.size();
            proposals.push(next);
        }
        let full = self.read(Store::bytes) >= self.limits.quota_bytes;
        let (mut operations, mut answers, mut kept_alive) = (Vec::new(), Vec::new(), KeptAlive::default());
        // Whoever has given up waiting was told so: what need not be written is not.
        for Proposal { operation, answer } in proposals.into_iter().filter(|asked| !asked.answer.is_closed()) {
            match operation {
                Operation::KeepAlive(ids) => kept_alive.add(ids, answer),
                operation if full && puts(&operation) => drop(answer.send(Err(Refused::NoSpace))),
                operation => {
                    operations.push(operation);
                    answers.push(answer);
                }
            }
        }
        operations.extend(kept_alive.operation());
        if operations.is_empty() {
            return Ok(());
        }
        match self.commit(operations) {
            Ok(mut results) => {
                let alive = kept_alive.is_asked().then(|| results.pop()).flatten();
                kept_alive.answer(alive);
                // Who has gone away does not hear.
                answers.into_iter().zip(results).for_each(|(answer, result)| drop(answer.send(result)));
                Ok(())
            }
            Err(error @ LogError::NoRoom { .. }) => {
                warn!(%error, "writes are refused, reads go on");
                kept_alive.answer(Some(Err(Refused::NoSpace)));
                answers.into_iter().for_each(|answer| drop(answer.send(Err(Refused::NoSpace))));
                Ok(())
            }
            Err(error) => Err(NodeError::Log(error)),
        }
    }

    /// To the disk, then to the state.
    fn commit(&mut self, operations: Vec<Operation>) -> Result<Vec<Result<Answer, Refused>>, LogError> {
        let (at, first, term) = (self.shared.clock.now(), self.data.log.next_index(), self.shared.term);
        let commands: Vec<Command> = operations.into_iter().map(|operation| Command { at, operation }).collect();
        let entry = |(index, command): (u64, &Command)| Entry { index, term, data: command.clone().encode() };
        let entries: Vec<Entry> = (first..).zip(&commands).map(entry).collect();
        let began = Instant::now();
        self.data.log.append(&entries)?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.sync_micros.fetch_add(micros, Ordering::Relaxed);
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        let results = {
            let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
            commands.iter().map(|command| store.apply(command)).collect()
        };
        self.shared.log_bytes.store(self.data.log.bytes(), Ordering::Relaxed);
        self.shared.index.send_replace(self.data.log.next_index() - 1);
        Ok(results)
    }

    /// For what nobody waits for: without room it is tried again later.
    fn commit_ours(&mut self, operation: Operation) -> Result<(), NodeError> {
        match self.commit(vec![operation]) {
            Ok(_) => Ok(()),
            Err(error @ LogError::NoRoom { .. }) => {
                warn!(%error, "leases cannot end and history cannot be forgotten");
                std::thread::sleep(Duration::from_millis(100));
                Ok(())
            }
            Err(error) => Err(NodeError::Log(error)),
        }
    }

    fn on_time(&mut self) -> Result<(), NodeError> {
        let leases = self.read(Store::next_lease_deadline).is_some();
        let late = self.shared.clock.now().saturating_sub(self.read(Store::clock));
        // Without leases the time means nothing.
        if leases && u128::from(late) >= IDLE.as_millis() { self.commit_ours(Operation::Nothing) } else { Ok(()) }
    }

    fn expire(&mut self) -> Result<(), NodeError> {
        let due = self.read(Store::next_lease_deadline).is_some_and(|at| at <= self.shared.clock.now());
        if due { self.commit_ours(Operation::Expire) } else { Ok(()) }
    }

    fn keep_small(&mut self) -> Result<(), NodeError> {
        let (revision, compacted, bytes) = self.read(|store| (store.revision(), store.compacted(), store.bytes()));
        // A full store keeps less history before it refuses to be written.
        let history = if bytes >= self.limits.quota_bytes / 2 { self.limits.history / 10 } else { self.limits.history };
        if revision - compacted.max(1) > 2 * history {
            let request = CompactionRequest { revision: revision - history, physical: false };
            self.commit_ours(Operation::Compact(request))?;
        }
        self.snapshots()
    }

    /// A snapshot is written beside the work; then the log before it can go.
    fn snapshots(&mut self) -> Result<(), NodeError> {
        if let Some((index, thread)) = self.snapshot.take_if(|(_, thread)| thread.is_finished()) {
            match thread.join() {
                Ok(Ok(())) => {
                    self.snapshot_index = index;
                    self.data.log.forget(index).map_err(NodeError::Log)?;
                }
                Ok(Err(error)) => {
                    self.snapshot_again = Instant::now() + SNAPSHOT_PAUSE;
                    warn!(%error, "a snapshot could not be written; the log stays");
                }
                Err(_) => {
                    self.snapshot_again = Instant::now() + SNAPSHOT_PAUSE;
                    error!("the writing of a snapshot failed in an unexpected way; the log stays");
                }
            }
            return Ok(());
        }
        let last = self.data.log.next_index() - 1;
        let due = self.data.log.bytes() >= self.limits.snapshot_bytes && last > self.snapshot_index;
        if self.snapshot.is_some() || !due || Instant::now() < self.snapshot_again {
            return Ok(());
        }
        match self.data.log.begin_segment() {
            Ok(()) => {}
            Err(LogError::NoRoom { .. }) => return Ok(()),
            Err(error) => return Err(NodeError::Log(error)),
        }
        let (store, dir, term) = (self.read(Store::clone), self.data.dir().to_owned(), self.shared.term);
        let write = move || write_snapshot(&dir, &store, last, term);
        let thread = std::thread::Builder::new().name("snapshot".into()).spawn(write).map_err(NodeError::Thread)?;
        self.snapshot = Some((last, thread));
        Ok(())
    }
}

/// Takes room; deletions and the end of leases make some.
fn puts(operation: &Operation) -> bool {
    match operation {
        Operation::Put(_) | Operation::Grant(_) => true,
        Operation::Txn(request) => txn_puts(request),
        Operation::DeleteRange(_)
        | Operation::Compact(_)
        | Operation::Revoke(_)
        | Operation::KeepAlive(_)
        | Operation::Expire
        | Operation::Nothing => false,
    }
}

fn txn_puts(request: &TxnRequest) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.any(|op| op.request_put.is_some() || op.request_txn.as_ref().is_some_and(txn_puts))
}

/// Keep-alives that become one entry.
#[derive(Default)]
struct KeptAlive {
    ids: Vec<i64>,
    asked: Vec<(usize, oneshot::Sender<Result<Answer, Refused>>)>,
}

impl KeptAlive {
    fn add(&mut self, ids: Vec<i64>, answer: oneshot::Sender<Result<Answer, Refused>>) {
        self.asked.push((ids.len(), answer));
        self.ids.extend(ids);
    }

    fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    fn operation(&self) -> Option<Operation> {
        self.is_asked().then(|| Operation::KeepAlive(self.ids.clone()))
    }

    /// To each its own part.
    fn answer(self, result: Option<Result<Answer, Refused>>) {
        let all: Result<Vec<LeaseKeepAliveResponse>, Refused> = match result {
            Some(Ok(Answer::KeepAlive(all))) => Ok(all),
            Some(Err(refused)) => Err(refused),
            Some(Ok(_)) | None => Err(Refused::Stopped),
        };
        let mut from = 0;
        for (count, answer) in self.asked {
            let part = all.as_ref().map(|all| Answer::KeepAlive(all[from..from + count].to_vec()));
            from += count;
            // Who has gone away does not hear.
            let _ = answer.send(part.map_err(Clone::clone));
        }
    }
}
