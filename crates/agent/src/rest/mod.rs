//! Patroni's REST API, made from the core's snapshot.
//!
//! Guarantees:
//! - Health checks read the snapshot and touch neither PostgreSQL nor the store. What says that this member leads
//!   (`/primary`, `/leader` …) also asks the lease keeper, at that very moment, whether the lock is still valid.
//! - `GET /patroni`, which elections read, has at most one query to our server under way, shared by all who ask, and
//!   waits at most [`live::PATIENCE`] for it; then the snapshot is shown with its age.
//! - What changes something goes to the core as a [`Request`](jogi_core::ha::Request), and its answer comes back: nothing here acts. Only the
//!   dynamic configuration is written directly, by compare and swap.
//! - Codes, texts, headers and the form of JSON are Patroni's (`docs/compatibility.md`); all that is ours stands below the
//!   one field `jogi`.
//! - Every wait has an end, and every connection's number and time is bounded by [`jogi_net::serve`].
//!
//! One endpoint, one file; [`dispatch`] is the table of them.

mod access;
mod answer;
mod api;
mod body;
mod cluster;
mod config;
mod dispatch;
mod document;
mod failsafe;
mod health;
mod history;
mod incident;
mod listen;
mod live;
mod liveness;
mod metrics;
mod mpp;
mod patroni;
mod query;
mod readiness;
mod reinitialize;
mod reload;
mod restart;
mod schedule;
mod server;
mod shown;
mod sigterm;
mod switchover;
#[cfg(test)]
mod tests;
mod wall;

use std::sync::Arc;

use jogi_dcs::Dcs;

use crate::glue::{Configuration, Published, Requests};
use crate::keeper::KeeperHandle;
use crate::record::Record;

pub use live::LiveStatus;
pub use server::{RestError, serve};

/// What the API is made from.
pub struct Options {
    pub configuration: Configuration,
    pub published: Published,
    pub requests: Requests,
    /// For `/cluster`, `/config` and `/history`.
    pub dcs: Arc<dyn Dcs>,
    pub keeper: KeeperHandle,
    pub live: Arc<dyn LiveStatus>,
    pub record: Record,
}
