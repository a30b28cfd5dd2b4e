//! What the parts of the agent hand to each other: the published snapshot, the queue of requests, and the
//! local configuration in force. Everything here is cheap to clone and never blocks the runtime.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jogi_core::ha::{Reply, Request, Snapshot};
use tokio::sync::{mpsc, oneshot, watch};

/// The member as of the core's last turn; replaced as a whole after each turn.
pub type Published = Arc<ArcSwap<Snapshot>>;

/// The local configuration in force; changes with a reload. The receiver wakes on each change.
pub type Configuration = watch::Receiver<Arc<jogi_config::Local>>;

/// One request on its way to the core, with the place for its answer. A dropped sender means that the
/// agent ends before it could answer.
pub type Asked = (Request, oneshot::Sender<Reply>);

/// Where REST and signals put requests. Bounded by [`REQUESTS`]: a full queue is answered with 503.
pub type Requests = mpsc::Sender<Asked>;

/// Requests that may wait for the core's next turn. It drains them in microseconds; more than this many
/// mean that it does not turn.
pub const REQUESTS: usize = 64;

/// The page shared with the guard of now; `None` while there is no guard. It changes when a new guard is
/// started, whose page is empty: the keeper publishes the lease it holds on the new page at once.
pub type GuardPage = watch::Receiver<Option<jogi_pg::guard::Page>>;
