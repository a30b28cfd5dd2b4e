//! The rules of one member: a state machine without I/O.
//!
//! # How to drive it
//!
//! 1. Hand in what happened with [`Ha::handle`] and the time with it; when the clock reaches the deadline of
//!    [`Ha::poll_timeout`], call [`Ha::handle_timeout`].
//! 2. Then carry out everything that [`Ha::poll_effect`] yields until it yields nothing, and pass
//!    [`Ha::permission`] and [`Ha::promises`] to the lease keeper.
//! 3. Every effect comes back as exactly one [`Event::Done`].
//!
//! Time never goes back between two calls. Several events may be handed in before effects are polled.

mod background;
mod basis;
mod bootstrap;
mod copies;
mod cycle;
mod decision;
mod divergence;
mod effect;
mod event;
mod failsafe;
mod flight;
mod healthiest;
mod leader;
mod local;
mod looked;
mod machine;
mod member;
mod moment;
mod note;
mod op;
mod peer;
mod peers;
mod promotion;
mod race;
mod reading;
mod replica;
mod requests;
mod resume;
pub mod schedule;
pub mod server;
mod slots;
mod snapshot;
mod standby_cluster;
mod state;
mod stopped;
mod synchronous;
mod take_in;
mod timer;
mod unready;
mod watchdog;

pub use decision::Decision;
pub use effect::{
    Act, Action, Aside, CallbackLane, Effect, EffectId, Failure, Generation, Intent, Lane, LaunchAs, LogicalPlan,
    LogicalSlot, Mode, Outcome, Script, Setup, SlotPlan, Stop, Taken, Upstream, Yield,
};
pub use event::{Cover, Event, Found, GuardNews, Lease, Lock, Promises, Reply, Request, RequestId, Restart, When};
pub use local::Local;
pub use machine::Ha;
pub use moment::{Moment, MomentKind};
pub use note::{Note, NoteLevel};
pub use peer::{Lineage, PeerStatus};
pub use server::Server;
pub use snapshot::{GuardState, Snapshot};
