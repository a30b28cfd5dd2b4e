//! The connections of one server: how many, which of them idle, and how they are told to close.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// While the bound is reached, how often an idle connection is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A connection counts as idle from here on: its request may be on its way.
const IDLE_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Connections {
    free: Arc<Semaphore>,
    max: usize,
    open: Arc<Mutex<BTreeMap<u64, Arc<State>>>>,
    next_id: AtomicU64,
}

/// One connection's state, shared with whoever may close it.
struct State {
    close: AtomicBool,
    told: Notify,
    activity: Mutex<Activity>,
}

struct Activity {
    requests: usize,
    /// There has been a request.
    used: bool,
    /// The end of the last request, or the beginning.
    idle_since: Instant,
    /// The end of the request's time.
    ends: Option<Instant>,
}

/// A place for one connection; free again when dropped.
pub(super) struct Slot {
    id: u64,
    state: Arc<State>,
    open: Arc<Mutex<BTreeMap<u64, Arc<State>>>>,
    _permit: OwnedSemaphorePermit,
}

/// A request under way on a connection.
pub(super) struct Busy(Arc<State>);

impl Connections {
    pub(super) fn new(max: usize) -> Connections {
        // One more than the bound: the newcomer that makes another one leave.
        let free = Arc::new(Semaphore::new(max + 1));
        Connections { free, max, open: Arc::default(), next_id: AtomicU64::new(0) }
    }

    /// Waits for a place.
    pub(super) async fn slot(&self) -> Slot {
        let permit = loop {
            match timeout(LOOK_AGAIN, self.free.clone().acquire_owned()).await {
                Ok(Ok(permit)) => break permit,
                Ok(Err(_)) | Err(_) => self.make_room(),
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State::new());
        Slot { id, state, open: self.open.clone(), _permit: permit }.registered()
    }

    /// Above the bound, tells the connection that has idled longest to close.
    pub(super) fn make_room(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() <= self.max {
            return;
        }
        let idle = |state: &Arc<State>| {
            let activity = state.activity();
            let is_idle = activity.requests == 0 && activity.idle_since.elapsed() >= IDLE_AFTER;
            (is_idle && !state.close.load(Ordering::Relaxed)).then(|| (activity.idle_since, state.clone()))
        };
        if let Some((_, state)) = open.values().filter_map(idle).min_by_key(|(since, _)| *since) {
            state.tell_to_close();
        }
    }

    /// Tells every connection to close after its request and waits at most `grace` for them.
    pub(super) async fn stop(&self, grace: Duration) {
        let open: Vec<Arc<State>> =
            self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for state in &open {
            let mut activity = state.activity();
            let end = Instant::now() + grace;
            activity.ends = Some(activity.ends.map_or(end, |e| e.min(end)));
            drop(activity);
            state.tell_to_close();
        }
        let all = u32::try_from(self.max + 1).unwrap_or(u32::MAX);
        let _ = timeout(grace, self.free.acquire_many(all)).await;
    }
}

impl State {
    fn new() -> State {
        let activity = Activity { requests: 0, used: false, idle_since: Instant::now(), ends: None };
        State { close: AtomicBool::new(false), told: Notify::new(), activity: Mutex::new(activity) }
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_to_close(&self) {
        self.close.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }
}

impl Slot {
    fn registered(self) -> Slot {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id, self.state.clone());
        self
    }

    /// Marks a request under way, which must be over within `limit`.
    pub(super) fn busy(&self, limit: Duration) -> Busy {
        let mut activity = self.state.activity();
        activity.requests += 1;
        activity.used = true;
        let end = Instant::now() + limit;
        activity.ends = Some(activity.ends.map_or(end, |e| e.min(end)));
        drop(activity);
        self.state.told.notify_waiters();
        Busy(self.state.clone())
    }

    /// Ends when the connection is told to close.
    pub(super) async fn told_to_close(&self) {
        while !self.state.close.load(Ordering::SeqCst) {
            let told = self.state.told.notified();
            if self.state.close.load(Ordering::SeqCst) {
                return;
            }
            told.await;
        }
    }

    /// Ends when the first request has come.
    pub(super) async fn used(&self) {
        loop {
            let told = self.state.told.notified();
            if self.state.activity().used {
                return;
            }
            told.await;
        }
    }

    /// Ends when the connection must be dropped: told to close and idle for `grace` all the same, or its
    /// request's time is over.
    pub(super) async fn dropped(&self, grace: Duration) {
        loop {
            let told = self.state.told.notified();
            let (idle, ends) = {
                let activity = self.state.activity();
                (activity.requests == 0, activity.ends)
            };
            let closing = self.state.close.load(Ordering::SeqCst);
            tokio::select! {
                () = told => {}
                () = sleep(grace), if closing && idle => return,
                () = at(ends), if !idle => return,
            }
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut activity = self.0.activity();
        activity.requests -= 1;
        activity.idle_since = Instant::now();
        if activity.requests == 0 {
            activity.ends = None;
        }
        drop(activity);
        self.0.told.notify_waiters();
    }
}
