//! The half that touches the machine: reads facts, writes files.

mod certificate;
mod gather;
mod memory;
mod metadata;
mod write;

pub use gather::{Machine, facts};
pub use memory::memory_mb;
pub use metadata::{DEFAULT_ADDRESS, detect};
pub use write::{WriteError, write};
