//! The daemon of one member: gather, decide in the core, perform.
//!
//! - [`start`]: from the command line to the loop.
//! - [`runtime`]: the loop. [`gather`] brings events in, [`perform`] carries effects out.
//! - [`keeper`]: the leader lease on its own thread.
//! - [`rest`]: Patroni's REST API.
//! - [`record`]: what happened, kept for whoever asks.
//! - [`watchdog`]: the kernel watchdog of the host.
//! - [`logging`]: log lines that stop nobody.

mod gather;
pub mod glue;
pub mod init;
pub mod keeper;
pub mod local;
pub mod logging;
mod notify;
mod perform;
pub mod record;
pub mod rest;
mod runtime;
pub mod source;
pub mod start;
pub mod timer;
pub mod watchdog;

pub use source::{Source, SourceError};
pub use start::{Options, main};
