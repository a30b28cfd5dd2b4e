//! Connections to PostgreSQL: our own server's and other members'.
//!
//! One small client for both SQL and the replication protocol, because a supervisor asks little and must know
//! exactly how long it waits: simple queries, text rows, a deadline on every step, no task that lives on.

mod login;
mod target;
mod tls;
mod wire;

pub use target::{Address, Purpose, Target};
pub use wire::{Connection, ServerError, SqlError, TextRow, quote_identifier, quote_literal};
