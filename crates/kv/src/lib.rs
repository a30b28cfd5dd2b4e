//! The built-in store's state machine: etcd v3's keys, revisions, transactions, leases and watches.
//!
//! PURE: no I/O, no clock, no randomness. Whatever a command needs of the outside (the time, the id of a new lease)
//! stands in it, so that every voter that applies the same log comes to the same state.
//!
//! - [`rpc`]: the messages, with etcd's own protobuf tags and the JSON of its gateway: what clients send is what the log
//!   holds.
//! - [`check`]: what etcd refuses before a request reaches its log.
//! - [`Store`]: takes [`Command`]s, answers reads at any revision that is not compacted.
//! - [`Watcher`]: a cursor in the history.
//! - [`snapshot`]: the whole state as checksummed bytes.

pub mod check;
mod command;
mod error;
mod history;
mod json;
mod keys;
mod lease;
mod range;
pub mod rpc;
pub mod snapshot;
mod store;
mod txn;
mod watch;

pub use command::{Command, Operation};
pub use error::{Code, Refused};
pub use json::encode_error;
pub use keys::KeyRange;
pub use store::{Answer, MAX_LEASE_TTL, MIN_LEASE_TTL, Millis, Store};
pub use watch::Watcher;
