//! The built-in store: etcd's v3 API on a durable log, so that a herd needs no other cluster.
//!
//! - [`log`]: what is acknowledged is in it, checksummed and on the disk.
//! - [`data`]: the data directory: lock, identity, snapshot, log.
//! - [`node`]: one thread that writes the log and applies it to [`jogi_kv::Store`].
//! - [`api`]: etcd's JSON gateway.
//!
//! One voter so far: it leads from its start, and every start is a new term, as in Raft with one voter.

mod api;
mod clock;
pub mod data;
pub mod log;
mod node;
mod options;
mod server;

pub use node::{Handle, Limits, Node, NodeError};
pub use options::Options;
pub use server::{Server, main};
