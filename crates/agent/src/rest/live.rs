//! One query to our own server, shared by everybody who asks at the same time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jogi_core::ha::Server;
use tokio::time::timeout;

/// How long a requester waits for the query; then the snapshot has to do.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// A look at our own server as it is now. The agent implements it.
pub trait LiveStatus: Send + Sync + 'static {
    /// `None`: the server did not answer, or there is none. Must end within a deadline of its own, because the next look
    /// begins only after it.
    fn look(&self) -> BoxFuture<'static, Option<Arc<Server>>>;
}

type Looking = Shared<BoxFuture<'static, Option<Arc<Server>>>>;

pub(super) struct Live {
    status: Arc<dyn LiveStatus>,
    /// The look under way, or the last one.
    looking: Mutex<Option<Looking>>,
}

impl Live {
    pub fn new(status: Arc<dyn LiveStatus>) -> Live {
        Live { status, looking: Mutex::new(None) }
    }

    /// What our server answers within [`PATIENCE`].
    pub async fn look(&self) -> Option<Arc<Server>> {
        let looking = self.join();
        timeout(PATIENCE, looking).await.ok().flatten()
    }

    fn join(&self) -> Looking {
        let mut under_way = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.as_ref().filter(|looking| looking.peek().is_none()) {
            Some(looking) => looking.clone(),
            None => {
                // A task, so that it goes on when all who wait for it have gone.
                let task = tokio::spawn(self.status.look());
                let looking = async { task.await.ok().flatten() }.boxed().shared();
                *under_way = Some(looking.clone());
                looking
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
        let (a, b, c) = tokio::join!(live.look(), live.look(), live.look());
        assert!(a.is_none() && b.is_none() && c.is_none());
        assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
        assert!(begin.elapsed() <= PATIENCE + Duration::from_millis(5));
        live.look().await;
        assert_eq!(slow.begun.load(Ordering::SeqCst), 1, "a query that hangs is not asked again beside itself");
        slow.may_end.add_permits(10);
        live.look().await;
        live.look().await;
        assert!(slow.begun.load(Ordering::SeqCst) >= 2, "a new one after it has ended");
    }
}
