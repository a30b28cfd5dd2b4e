//! The appliance: Spilo's environment becomes the configuration of an agent and of what stands beside it.
//!
//! Two halves. The decisions are pure: [`plan`](plan::plan) takes the environment and the [`Facts`](facts::Facts)
//! and gives files. The [`shell`] reads the facts and writes the files, and knows nothing of what they mean.
//! - [`variables`]: the one table of every variable, and how texts become values.
//! - [`document`]: a configuration with the source of every value.

pub mod command;
pub mod document;
pub mod facts;
pub mod plan;
pub mod shell;
mod show;
pub mod source;
pub mod variables;

pub use command::{Options, main};
