//! One query to our own server, shared by everybody who asks at the same time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jogi_core::ha::Server;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// How long a requester of a document waits for the query; then the snapshot has to do.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// A look at our own server as it is now. The agent implements it.
pub trait LiveStatus: Send + Sync + 'static {
    /// `None`: the server did not answer, or there is none. Must end within a deadline of its own, because the next look
    /// begins only after it.
    fn look(&self) -> BoxFuture<'static, Option<Arc<Server>>>;
}

#[derive(Clone)]
struct Look {
    begun: Instant,
    /// Says that the look has ended, also when nobody was left to take its answer.
    task: AbortHandle,
    answer: Shared<BoxFuture<'static, Option<Arc<Server>>>>,
}

pub(super) struct Live {
    status: Arc<dyn LiveStatus>,
    /// The look under way, or the last one.
    looking: Mutex<Option<Look>>,
}

impl Live {
    pub fn new(status: Arc<dyn LiveStatus>) -> Live {
        Live { status, looking: Mutex::new(None) }
    }

    /// What our server answers within `patience`, counted from the beginning of the look: one that others have waited for
    /// in vain is not waited for again, so that a server that hangs delays few checks, not all.
    pub async fn look(&self, patience: Duration) -> Option<Arc<Server>> {
        let look = self.join();
        timeout_at(look.begun + patience, look.answer).await.ok().flatten()
    }

    fn join(&self) -> Look {
        let mut under_way = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.as_ref().filter(|look| !look.task.is_finished()) {
            Some(look) => look.clone(),
            None => {
                // A task, so that it goes on when all who wait for it have gone.
                let looking = tokio::spawn(self.status.look());
                let (begun, task) = (Instant::now(), looking.abort_handle());
                let answer = async { looking.await.ok().flatten() }.boxed().shared();
                under_way.insert(Look { begun, task, answer }).clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    struct Slow {
        begun: AtomicUsize,
        may_end: Arc<Semaphore>,
    }

    impl LiveStatus for Slow {
        fn look(&self) -> BoxFuture<'static, Option<Arc<Server>>> {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let may_end = Arc::clone(&self.may_end);
            async move {
                let _permit = may_end.acquire_owned().await;
                None
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_share_one_query_and_nobody_waits_long() {
        let slow = Arc::new(Slow { begun: AtomicUsize::new(0), may_end: Arc::new(Semaphore::new(0)) });
        let live = Live::new(slow.clone());
        let begin = tokio::time::Instant::now();
        let (a, b, c) = tokio::join!(live.look(PATIENCE), live.look(PATIENCE), live.look(PATIENCE));
        assert!(a.is_none() && b.is_none() && c.is_none());
        assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
        live.look(PATIENCE).await;
        assert!(
            begin.elapsed() <= PATIENCE + Duration::from_millis(5),
            "and what all waited for, nobody waits for again"
        );
        assert_eq!(slow.begun.load(Ordering::SeqCst), 1, "a query that hangs is not asked again beside itself");
        slow.may_end.add_permits(10);
        tokio::time::sleep(Duration::from_millis(1)).await;
        live.look(PATIENCE).await;
        assert_eq!(
            slow.begun.load(Ordering::SeqCst),
            2,
            "what came when nobody waited any more is old: it is asked anew"
        );
    }
}
