//! Environment and command line of the postmaster.

use std::ffi::OsString;
use std::path::PathBuf;

use jogi_core::ha::Setup;

use crate::files::FileError;
use crate::instance::Instance;

/// How to start the postmaster: for the guard, which does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSpec {
    pub program: PathBuf,
    /// Without the program's own name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    pub data_dir: PathBuf,
    /// Parameters raised to the primary's minimums for a standby, and other things worth a warning.
    pub warnings: Vec<String>,
}

/// The command line for `setup`. Blocking: a standby's minimums are read from the control file.
pub fn start_spec(_instance: &Instance, _setup: &Setup) -> Result<StartSpec, FileError> {
    todo!()
}

/// Our environment without what is the agent's own (`PATRONI_*`, `KUBERNETES_*`, `NOTIFY_SOCKET` …).
pub fn clean_environment() -> Vec<(OsString, OsString)> {
    todo!()
}
