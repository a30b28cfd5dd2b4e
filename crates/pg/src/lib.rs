//! One PostgreSQL server: queries, files, control data, programs, postmaster and guard.

pub mod admin;
pub mod binaries;
pub mod connect;
pub mod control;
mod crc32c;
pub mod data_dir;
pub mod fence;
pub mod files;
pub mod guard;
pub mod instance;
pub mod look;
pub mod pidfd;
pub mod pidfile;
pub mod postmaster;
pub mod process;
pub mod programs;
pub mod replication;
pub mod roles;
pub mod rundir;
pub mod slots;
pub mod wal;
pub mod weaken;
