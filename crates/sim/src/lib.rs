//! Three members and a toy store in virtual time: the second driver of the core.

pub mod clock;
pub mod net;
pub mod postgres;
pub mod rng;
pub mod store;
pub mod wal;
