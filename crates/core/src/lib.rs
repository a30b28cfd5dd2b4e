//! The decision core of jogi: what one member of a herd does, and why.
//!
//! Nothing in this crate reads a clock, a file, a socket, the environment or a random source; nothing
//! in it starts a thread or can fail. It is driven from outside: events and the time go in, effects,
//! the next deadline and an explanation come out. The agent drives it against real servers, the
//! simulator against models of them.
//!
//! - [`view`]: what the store says about the cluster, in Patroni's JSON.
//! - [`ha`]: the rules and operations of one member.
//! - [`sync`]: who confirms commits and who may succeed, in the synchronous modes.
//! - [`lease`]: the schedule of the leader lease and the verdict of the guard.

pub mod ha;
pub mod lease;
pub mod lsn;
pub mod names;
pub mod sync;
pub mod time;
pub mod timeline;
pub mod view;
pub mod weaken;

pub use lsn::Lsn;
pub use names::{MemberName, SlotName};
pub use time::{Now, Tick, Wall};
pub use timeline::{History, Timeline};
pub use weaken::{Weaken, Weakness};
