//! Herds in virtual time: the second driver of the core.
//!
//! A [`World`] holds the hosts of a herd, a store, a network and clients, and runs them in one thread, in virtual
//! time, from one seed. It drives the very types that the agent and the guard run: the rules and operations
//! ([`jogi_core::ha::Ha`]), the lease keeper's schedule ([`jogi_core::lease::Keeper`]) and the guard's verdicts
//! ([`jogi_core::lease::Custody`]). Only the carrying out of an effect is modelled.
//!
//! - [`scenario`]: a story as a text file, with what must come of it.
//! - [`seeds`]: random faults from a number, for as many numbers as there is time for.
//! - [`invariants`]: what must hold after every step.

pub mod agent;
pub mod client;
pub mod clock;
pub mod dcs;
pub mod fault;
pub mod guard;
pub mod invariants;
pub mod net;
pub mod peers;
pub mod postgres;
mod queue;
pub mod quirks;
mod remote;
pub mod rng;
pub mod scenario;
pub mod seeds;
pub mod store;
pub mod streams;
pub mod trace;
pub mod wal;
pub mod weakness;
pub mod world;

pub use weakness::{Weakness, Weaknesses};
pub use world::{Herd, World};
