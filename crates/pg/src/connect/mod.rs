//! Connections to PostgreSQL.

pub mod target;
pub mod wire;

pub use target::{Address, Purpose, Target};
pub use wire::{Connection, SqlError, TextRow};
