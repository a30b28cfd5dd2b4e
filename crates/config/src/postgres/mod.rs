//! PostgreSQL parameters: what the layers say, what the server's version accepts, what the files get.
//!
//! Guarantees: the parameters that must be equal in the whole herd come from the store alone and go to
//! the postmaster's command line, where `ALTER SYSTEM` cannot change them; a value that the installed
//! version would refuse to start with is never written.
//!
//! Versions are PostgreSQL's numbers: 150004 is 15.4, 150000 is major 15.

mod compare;
mod conf;
mod conninfo;
mod controlled;
mod describe;
mod effective;
mod minimums;
mod parameters;
mod recovery;
mod replica_method;
mod rules;
mod tool_options;
pub mod units;

pub use compare::{Comparison, PendingRestart, Setting, Wanted, compare, equivalent};
pub use conf::{
    ConfFile, HbaTrust, hba_trust_text, lines_text, recovery_section, render_conf, render_recovery_conf,
    strip_recovery_parameters,
};
pub use conninfo::{Conninfo, pgpass_text};
pub use controlled::{CONTROLLED, Check, Controlled};
pub use describe::DescribeConfig;
pub(crate) use effective::kind_of;
pub use effective::{BinNames, Callbacks, Effective, effective_postgresql};
pub use minimums::{Raised, STANDBY_MINIMUMS, StandbyMinimum};
pub(crate) use parameters::says_yes;
pub use parameters::{Parameters, ServerParameters, local_tcp_host, socket_directory};
pub use recovery::{RECOVERY_PARAMETERS, is_recovery_parameter, recovery_file_parameters};
pub use replica_method::{ReplicaMethod, ReplicaTarget};
pub(crate) use tool_options::INITDB_FORBIDDEN;
pub use tool_options::ToolOptions;
