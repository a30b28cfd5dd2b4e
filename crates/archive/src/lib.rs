//! The archive: WAL in object storage, in WAL-G's layout, so that years of existing archives stay readable and nobody
//! is locked in.
//!
//! The pure half reads no file, socket, clock or environment: [`names`] (which object holds which file), [`settings`]
//! (what the variables say). The shell half does: [`storage`] (a directory, S3, Google, Azure), [`codec`] and
//! [`sodium`] (what is between a file and its object), [`pipe`] (from one to the other in bounded memory), [`wal`]
//! (push and fetch), [`check`]; [`commands`] is the command line.

pub mod check;
pub mod codec;
pub mod commands;
pub mod names;
pub mod pipe;
pub mod settings;
pub mod sodium;
pub mod storage;
pub mod wal;

pub use commands::{Options, main};
