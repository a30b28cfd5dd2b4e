//! "I take the agent out and put yours in": Patroni and ours side by side, asked the same.

mod access;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod configuration;
mod ctl;
mod endings;
mod logs;
mod mixed;
mod pair;
mod rest;
mod standby_cluster;
mod validation;
