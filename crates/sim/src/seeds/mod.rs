//! Random faults from a number.
//!
//! A seed makes a [`plan`]: the herd, its settings, and what is done to it and when. [`run`] lives through it;
//! [`campaign`] does that for many seeds, in order; what fails is [shrunk](shrink) and [told](story).

pub mod campaign;
pub mod kind;
pub mod plan;
pub mod profile;
pub mod report;
pub mod run;
pub mod shrink;
pub mod story;

pub use campaign::{Campaign, Finding};
pub use plan::{Options, Plan};
pub use profile::Profile;
pub use report::Report;
pub use run::{Ended, run_plan, run_seed};
