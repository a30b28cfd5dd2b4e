//! The leader lease as arithmetic and verdicts, without a clock or a store.
//!
//! - [`deadlines`]: from one renewal to the moments at which a primary must have stopped.
//! - [`keeper`]: when the lease is opened, renewed, moved and given up, and what the lock holder may believe.
//! - [`verdict`]: what the guard owes a postmaster at a given moment, and whether it may make one writable.
//!
//! The keeper and the guard run these types against the real clock, the simulator against a virtual one.

pub mod deadlines;
pub mod keeper;
pub mod verdict;
pub mod watchdog;

pub use deadlines::Deadlines;
pub use keeper::Keeper;
pub use verdict::{Custody, Lease, Refusal, Server, Verdict};
