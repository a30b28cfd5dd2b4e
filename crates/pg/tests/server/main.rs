//! One PostgreSQL server, for real: what this crate does is done to servers that these tests make and remove.

mod bootstrap;
mod common;
mod configure;
mod control;
mod copies;
mod golden;
mod hung;
mod look;
mod rewind;
mod tls;
mod wal;
