//! Events: everything the core is told. Plain data; the time comes beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::effect::{EffectId, Generation, Intent, Outcome};
use super::local::Local;
use crate::view::{Cluster, Revision, Session};
use crate::{MemberName, Tick, Wall};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The agent begins: what it found in the run directory.
    Began(Found),
    /// The store as it is now; `read_at` is the boot clock before the request (or at arrival of the change).
    View { cluster: Arc<Cluster>, read_at: Tick, linearizable: bool },
    /// The watch broke; the view ages.
    StoreLost(String),
    /// The keeper's news of session and lock. Sent on every change and after every beat.
    Lease(Lease),
    /// The postmaster of our data directory ended.
    PostmasterExited { pid: u32, status: String },
    /// The guard acted by itself, or is gone.
    Guard(GuardNews),
    /// Somebody asks for something.
    Request(RequestId, Request),
    /// An effect ended: exactly once for each.
    Done { id: EffectId, outcome: Outcome },
    /// The work of an effect that had been reported [`Failure::Stuck`](super::Failure) has really ended.
    Freed { id: EffectId },
    /// The local configuration was read again.
    Configured(Box<Local>),
}

/// What a starting agent found of an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// A change of the data directory that was begun and not completed.
    pub intent: Option<Intent>,
    /// The guard of an earlier agent still holds a lease under which the server may run.
    pub armed: Option<Generation>,
    /// The dynamic configuration as last saved beside the data, for as long as the store is silent.
    pub dynamic: Option<Value>,
}

/// The keeper's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The session that our keys live on; `None` while there is none.
    pub session: Option<Session>,
    pub lock: Option<Lock>,
    /// Why the last lock ended, when it was not released by us.
    pub lost: Option<String>,
}

/// The leader lock, held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub generation: Generation,
    pub created: Revision,
    /// Until when our server may be writable; the guard kills at `hard` = `valid_until`.
    pub valid_until: Tick,
    /// When the orderly shutdown begins.
    pub soft: Tick,
    /// When the last request was sent that the store has confirmed the lock by.
    pub renewed: Tick,
    pub cover: Cover,
}

/// What keeps everybody else from leading while our server is writable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cover {
    /// The store's lease.
    #[default]
    Lease,
    /// The lease as far as the store has confirmed it, and beside it the other members' promises (failsafe mode).
    Both,
    /// The promises alone: the leader key is gone from the store and has to be taken again.
    Promises,
}

/// Promises of every other member of the failsafe topology not to race for `ttl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// The lock that they are given to.
    pub generation: Generation,
    /// From before the first of them was asked for.
    pub sent: Tick,
    pub ttl: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardNews {
    /// The lease ran out: the guard has begun a fast shutdown.
    ClosedAtSoft,
    /// The guard killed everything that was left.
    KilledAtHard,
    /// The guard process is gone (its postmaster dies with it); a new one is started with the next effect.
    Died,
    /// The shown state changed: `true` while it watches a postmaster that is not its child.
    Adopted(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What REST, the control tool and signals ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// POST /switchover and /failover (rest-api 8).
    Switchover { manual_failover: bool, leader: Option<String>, candidate: Option<String>, scheduled_at: Option<When> },
    /// DELETE /switchover.
    CancelSwitchover,
    /// POST /restart (rest-api 9).
    Restart(Restart),
    /// DELETE /restart.
    CancelRestart,
    /// POST /reload and SIGHUP; the new local configuration, if it changed, came before as `Configured`.
    Reload,
    /// POST /reinitialize.
    Reinitialize { force: bool, from_leader: bool },
    /// SIGTERM: hand over and end.
    Shutdown,
    /// POST /failsafe: a leader that has lost the store says that it lives.
    /// `ttl`: for how long the leader counts on the answer, when it says so.
    Failsafe {
        name: MemberName,
        conn_url: String,
        api_url: String,
        slots: BTreeMap<String, u64>,
        ttl: Option<Duration>,
    },
    /// The store's configuration was changed through our REST: look at once.
    Wake,
}

/// No promise is taken for longer than this: whoever asks for more makes a mistake.
const LONGEST_PROMISE: Duration = Duration::from_secs(24 * 3600);

impl Request {
    /// The body of `POST /failsafe` (rest-api 10). `None`: a part that Patroni's members send is missing.
    pub fn failsafe(body: &Value) -> Option<Request> {
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        let slots = body.get("slots").and_then(Value::as_object).into_iter().flatten();
        let slots = slots.filter_map(|(name, lsn)| Some((name.clone(), lsn.as_u64()?))).collect();
        let ttl = body.get("jogi").and_then(|jogi| jogi.get("ttl_ms")).and_then(Value::as_u64);
        let ttl = ttl.map(|ms| Duration::from_millis(ms).min(LONGEST_PROMISE));
        let (name, conn_url, api_url) = (text("name")?.into(), text("conn_url")?, text("api_url")?);
        Some(Request::Failsafe { name, conn_url, api_url, slots, ttl })
    }
}

/// A point of time as a requester wrote it, already parsed at the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// ISO 8601 with offset, as it will be published.
    pub text: String,
    pub at: Wall,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restart {
    pub role: Option<String>,
    /// Only when the server is older than this (e.g. 150020).
    pub older_than: Option<u32>,
    /// As written, for the member key.
    pub postgres_version: Option<String>,
    pub only_pending: bool,
    /// Seconds.
    pub timeout: Option<u64>,
    pub schedule: Option<When>,
    /// When the server started that is to be restarted; set when it is scheduled.
    pub postmaster_start: Option<Wall>,
}

/// The answer to a request: an HTTP status and Patroni's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub text: String,
}

impl Reply {
    pub fn new(status: u16, text: impl Into<String>) -> Reply {
        Reply { status, text: text.into() }
    }
}
