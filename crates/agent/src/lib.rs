//! The daemon of one member: gather, decide in the core, perform.
