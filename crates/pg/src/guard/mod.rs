//! The guard: the postmaster's parent, which ends it when the lease does, whatever became of the agent.
//!
//! An agent can be killed, frozen, swapped out or starved, and its PostgreSQL goes on writing while another member
//! takes the lock. The guard is a process of its own with nothing in it that could hang: one thread, no runtime, no
//! allocation after its start, no file on a disk, resident pages locked. It reads the lease from a [`page`] in shared memory
//! that the keeper renews, and acts on [`jogi_core::lease::Custody`]'s verdict: fast shutdown at `soft`, SIGKILL of
//! everything at `hard`, complete when nothing is left (see [`crate::fence`]).
//!
//! It alone starts a server and promotes one, so that a server becomes writable only while somebody is there to end it.
//! If the guard itself dies, the kernel sends SIGQUIT to the postmaster.
//!
//! Not covered: host or container frozen together with the guard; a postmaster that was found running
//! (`adopted`) when the guard dies; a postmaster stopped by SIGSTOP when the guard dies, until it is continued
//! or killed by the agent.
//!
//! Not done: `cgroup.kill`. It would need a control group of the server's own under version 2, which a guard started by
//! an ordinary user has not; walking `/proc` ends in the same place.
//!
//! - [`client`] and [`spawn`]: the agent's side. [`wire`], [`socket`]: between the two. [`page`]: the lease.
//! - [`process`]: the guard's loop. [`server`], [`promote`], [`memory`]: its parts.

pub mod client;
mod memory;
pub mod page;
mod process;
mod promote;
mod server;
mod socket;
pub mod spawn;
mod wire;

pub use client::{Client, CommandError, Event, Exit, ExitStatus, Refused, Start, StartAs, Status};
pub use page::{Acted, LeaseIdentity, LeaseOnPage, Page};
#[doc(hidden)]
pub use process::has_started;
pub use process::main;
pub use spawn::AttachError;
pub use wire::Stop;
