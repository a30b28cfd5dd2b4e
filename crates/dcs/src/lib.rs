//! The stores behind a herd: one trait, one contract suite, every backend.
//!
//! # What each store promises
//!
//! | store | the lock is owned by | smallest ttl | runs from, by whose clock | keys that share an object | compare over several keys | gaps in watches |
//! |---|---|---|---|---|---|---|
//! | etcd v3 | a lease; the key names the member, the lease is attached | 2 s (etcd raises less) | the last keep-alive the etcd leader processed; etcd's clock; restarted in full when etcd's leader changes | none | yes, one transaction | compaction: re-read, then watch from the read's revision |
//! | etcd v2 | the key's own TTL, renewed with prevValue | 1 s | the last write; etcd's clock | none | no: leader key alone | index cleared: re-read |
//! | Consul | a session with behaviour delete | 20 s: a session of 10 s (`session_ttl_min`), doubled inside Consul | the last renewal; Consul's clock, at least `ttl`: the session's own TTL is half of it | none | yes, `/v1/txn` | blocking queries return the newest index |
//! | ZooKeeper | the session that owns the ephemeral node | 2 × the server's tick | the last ping; the server's clock | none | yes, `multi` with version checks | one-shot watches: re-read and re-arm |
//! | Kubernetes | the holder's renewals as observed: no server-side expiry; members are pods and stay | 2 s | each observer's own clock, from when it saw the last change | leader, status and failsafe; initialize, config and history | resourceVersion of one object only | 410 Gone: list again, then watch |
//!
//! Times on the holder's side are always counted from before the request was sent, so the holder
//! believes less than any store grants.
//!
//! # Errors
//!
//! A request either was answered (perhaps with a conflict) or it was not: [`DcsError`] is every way of not
//! being answered usefully, including errors of the server that nobody listed. All of them are one path
//! for the callers: nothing is known to have happened, and nothing is known not to have happened.

mod connect;
pub mod consul;
mod deadline;
pub mod etcd2;
pub mod etcd3;
mod hosts;
pub mod kubernetes;
mod outbox;
mod paths;
mod rest;
#[cfg(feature = "suite")]
pub mod suite;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jogi_core::view::{Cluster, Expect, Revision, Session, Write, Written};
use jogi_core::{MemberName, Tick};

pub use connect::{AVAILABLE, Place, connect, connect_to, etcd3_options};
pub use consul::Consul;
pub use etcd2::Etcd2;
pub use etcd3::{Etcd3, Etcd3Options};
pub use paths::base_path;

/// How fresh a reading must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Linearizable: sees every write answered before the read began.
    Linearizable,
    /// Whatever one server has.
    Any,
}

/// One reading of the whole cluster.
#[derive(Clone, Debug)]
pub struct View {
    pub cluster: Arc<Cluster>,
    /// The boot clock just before the request for (or the arrival of) this state.
    pub read_at: Tick,
}

/// What the watch reports, in order.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// The cluster as it is now, after a change or a fresh reading.
    View(View),
    /// The watch broke and is being built again; views age meanwhile. Said once per outage.
    Lost(String),
}

/// The answer to one heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The session lives on, extended from some moment after the request was sent. `leader` is the
    /// leader key as a linearizable read of the same beat saw it (`None`: not asked for, or no key).
    Extended { leader: Option<LeaderKey> },
    /// The session has ended in the store: every key on it is gone.
    SessionGone,
}

/// The leader key as read by a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderKey {
    pub name: MemberName,
    pub session: Option<Session>,
    pub created: Revision,
    pub revision: Revision,
}

/// The answer to an attempt to take the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The leader key is ours on our session; `created` names this incarnation.
    Yes {
        created: Revision,
        revision: Revision,
    },
    /// A compared key had changed, or the lock is another's.
    Conflict,
    SessionGone,
}

/// Every way of not being answered usefully. See the module documentation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DcsError {
    #[error("{operation}: no answer from {endpoint} within {} ms", .waited.as_millis())]
    Timeout { operation: &'static str, endpoint: String, waited: Duration },
    #[error("{operation}: cannot reach {endpoint}: {cause}")]
    Unreachable { operation: &'static str, endpoint: String, cause: String },
    #[error("{operation}: {endpoint} answered with an error: {cause}")]
    Server { operation: &'static str, endpoint: String, cause: String },
    #[error(
        "{operation}: {endpoint} refused our credentials: {cause}; check the user, password and certificates in the store's section of the configuration"
    )]
    Denied { operation: &'static str, endpoint: String, cause: String },
    #[error(
        "{operation}: {endpoint} does not permit it: {cause}; give our account a role with this verb on this resource; docs/kubernetes.md lists all that it needs"
    )]
    Forbidden { operation: &'static str, endpoint: String, cause: String },
    /// The store could be used, and must not be.
    #[error("{operation}: {endpoint}: {cause}")]
    Refused { operation: &'static str, endpoint: String, cause: String },
    #[error("{operation}: {endpoint} answered something that is not this protocol: {cause}")]
    Garbled { operation: &'static str, endpoint: String, cause: String },
}

/// A store's client that cannot be set up: wrong configuration, never the network.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Http(#[from] jogi_net::http::HttpError),
    #[error("the section {section} gives no address of a server: set host, hosts or url")]
    NoAddress { section: &'static str },
    #[error("the store {section} is not supported: use one of {}", AVAILABLE.join(", "))]
    Unsupported { section: &'static str },
    #[error("the section {section}: {cause}")]
    Section { section: &'static str, cause: String },
}

/// One store. Every call makes at most the tries that fit into its deadline, over all configured
/// servers, and returns no later than the deadline. Cancelling a call (dropping its future) is safe: the
/// request may or may not have been applied.
#[async_trait]
pub trait Dcs: Send + Sync {
    /// The smallest ttl that this store keeps; a smaller request is raised to it with a warning.
    fn smallest_ttl(&self) -> Duration;

    /// Where the store is, for messages: never with credentials.
    fn describe(&self) -> String;

    /// A second client of the same store for another thread's runtime. It has connections of its own and
    /// shares what is known: which servers answer, their newest history, credentials. What one of the two
    /// learns of a dead server, the other's watch acts on.
    fn sibling(&self) -> Result<Arc<dyn Dcs>, SetupError>;

    /// Reads every key of the cluster at once.
    async fn load(&self, freshness: Freshness, deadline: Duration) -> Result<View, DcsError>;

    /// Follows the cluster for ever from a task of its own on the current runtime: reads, watches, and after any gap reads again.
    /// Sends the first view as soon as there is one. Ends when the receiver is dropped. The channel is
    /// bounded; a slow receiver gets the newest view, never a backlog.
    fn watch(self: Arc<Self>) -> tokio::sync::mpsc::Receiver<WatchEvent>;

    /// Opens a session of `ttl`.
    async fn open_session(&self, ttl: Duration, deadline: Duration) -> Result<Session, DcsError>;

    /// Extends `session`; with `read_leader` also reads the leader key linearizably in the same beat.
    async fn beat(&self, session: &Session, read_leader: bool, deadline: Duration) -> Result<Beat, DcsError>;

    /// Ends a session at once, with every key on it (used when a session is replaced after a change of ttl,
    /// never at shutdown: Patroni leaves its member key to expire).
    async fn close_session(&self, session: &Session, deadline: Duration) -> Result<(), DcsError>;

    /// Takes the leader lock on `session` if everything in `expect` holds. A try whose answer was lost may be
    /// applied later: who finds the leader key as its own on its own session without knowing of it has to
    /// take it as held, or release it.
    async fn acquire(&self, session: &Session, expect: &Expect, deadline: Duration) -> Result<Acquired, DcsError>;

    /// Moves the leader key, which must be the incarnation `created`, to `session` (after a change of ttl).
    async fn reattach(&self, session: &Session, created: &Revision, deadline: Duration) -> Result<Acquired, DcsError>;

    /// Deletes the leader key if it is still the incarnation `created`, writing `status` (the `status` key's
    /// text) in the same transaction where the store can. `false`: it was not ours any more.
    async fn release(&self, created: &Revision, status: Option<&str>, deadline: Duration) -> Result<bool, DcsError>;

    /// One conditional change of one key. A try whose answer was lost may still be applied later, even after
    /// this call has ended: where a late write would harm, the condition must exclude it
    /// ([`Condition::Unchanged`](jogi_core::view::Condition), [`Write::while_leader`]).
    async fn write(&self, write: &Write, deadline: Duration) -> Result<Written, DcsError>;

    /// Deletes every key of the cluster (ctl's `remove`).
    async fn remove_cluster(&self, deadline: Duration) -> Result<(), DcsError>;
}
