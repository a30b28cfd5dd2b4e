//! The daemon of one member: gather, decide in the core, perform.

pub mod glue;
pub mod logging;
pub mod timer;
