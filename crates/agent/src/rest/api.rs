//! What every endpoint works with: the snapshot, the keeper, the store, and the way to the core.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jogi_core::Now;
use jogi_core::ha::{Reply, Request, Snapshot};
use jogi_core::view::Cluster;
use jogi_dcs::{Dcs, DcsError, Freshness};
use tokio::sync::{mpsc, oneshot};

use super::Options;
use super::access::Access;
use super::answer::{Answer, Headers};
use super::live::Live;
use super::shown::Shown;
use crate::glue::{Published, Requests};
use crate::keeper::KeeperHandle;
use crate::record::Record;

/// How long a reading of the store may take before the requester is told that there is none.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The core answers what can be answered at once in a turn; operations have their own deadlines inside it. This is
/// for a core that does not answer at all.
pub(super) const CORE_PATIENCE: Duration = Duration::from_secs(15);

/// An operation (restart, switchover) has the requester's connection open for so long at most.
pub(super) const OPERATION_PATIENCE: Duration = Duration::from_secs(3600);

/// Shared by all requests.
pub(super) struct Api {
    pub published: Published,
    pub keeper: KeeperHandle,
    pub dcs: Arc<dyn Dcs>,
    pub live: Live,
    pub shown: Shown,
    pub record: Record,
    pub access: ArcSwap<Access>,
    pub headers: ArcSwap<Headers>,
    /// This member belongs to the coordinator of a Citus cluster.
    pub coordinates: bool,
    requests: Requests,
}

impl Api {
    pub fn new(options: Options, access: Access, headers: Headers) -> Api {
        let coordinates = options.configuration.borrow().citus.as_ref().is_some_and(|citus| citus.group == 0);
        Api {
            published: options.published,
            keeper: options.keeper,
            dcs: options.dcs,
            live: Live::new(options.live),
            shown: Shown::default(),
            record: options.record,
            access: ArcSwap::from_pointee(access),
            headers: ArcSwap::from_pointee(headers),
            coordinates,
            requests: options.requests,
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    pub fn now(&self) -> Now {
        jogi_net::now()
    }

    /// Whether the leader lock is held and valid at this very moment.
    pub fn holds_lock(&self) -> bool {
        self.keeper.valid_until() > self.now().boot
    }

    /// The cluster as the store has it now.
    pub async fn read_cluster(&self) -> Result<Arc<Cluster>, DcsError> {
        Ok(self.dcs.load(Freshness::Linearizable, STORE_PATIENCE).await?.cluster)
    }

    /// Asks the core and waits for its answer.
    pub async fn ask(&self, request: Request, patience: Duration) -> Reply {
        let (sender, answer) = oneshot::channel();
        match self.requests.try_send((request, sender)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Reply::new(503, "too many requests wait for the decision loop; try again");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Reply::new(503, "the agent is ending"),
        }
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Reply::new(503, "the agent is ending"),
            Err(_) => {
                let seconds = patience.as_secs();
                Reply::new(
                    503,
                    format!(
                        "no answer from the decision loop within {seconds} s; the request may still be carried out"
                    ),
                )
            }
        }
    }
}

/// The store did not answer.
pub(super) fn store_failed(error: &DcsError) -> Answer {
    tracing::warn!("REST: {error}");
    Answer::error_because(503, &error.to_string())
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer::text(reply.status, reply.text)
    }
}
