//! Configuration: what an operator wrote, in files, in the environment and in the store, as typed values.
//!
//! Guarantees: nothing here reads a file, the environment, a clock or a socket; callers hand texts and
//! maps in. A configuration that Patroni's daemon starts with loads here too: what it would stumble over
//! later is a warning, what keeps it from starting is an error, and all errors are reported together.
//! Secrets do not show in `Debug` nor in any error or warning.
//!
//! - [`yaml`]: text to JSON values and back, as PyYAML reads and prints it.
//! - [`python`]: how Python prints values; comparisons and `postgresql.conf` depend on it.
//! - [`options`]: the one table of every option; unknown keys, types and the reference page come from it.
//! - [`env`]: the `PATRONI_*` variables.
//! - [`local`]: the typed local configuration.
//! - [`dynamic`]: the store's `config` key: merging, path setting, defaults.
//! - [`postgres`]: PostgreSQL parameters: effective values, validity per version, rendered files.
//! - [`shell`]: commands split into words.
//! - [`moment`]: points of time as people write them.
//! - [`sample`], [`generate`]: the sample configuration, and that of a server that runs already.
//! - [`validate`]: the checks of `--validate-config`.

pub mod address;
pub mod dynamic;
pub mod env;
pub mod generate;
pub mod local;
pub mod moment;
pub mod options;
pub mod postgres;
pub mod python;
pub mod sample;
mod secret;
pub mod shell;
pub mod validate;
pub mod yaml;

pub use address::HostPort;
pub use local::{ClientConfig, ConfigError, Loaded, Local, Problem};
pub use moment::Moment;
pub use secret::Secret;
