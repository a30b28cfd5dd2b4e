//! The sample configuration and the checks of `--validate-config` that need no machine.

use serde_json::Value;

use crate::env::Environment;

/// What a sample needs to know of the machine.
#[derive(Clone, Debug)]
pub struct SampleInput {
    /// Host name; `#FIXME` when unknown.
    pub hostname: Option<String>,
    /// An address of this host.
    pub address: Option<String>,
    /// PostgreSQL's version number, for instance 150000.
    pub version: u32,
    pub bin_dir: Option<String>,
}

/// The text of `--generate-sample-config`.
pub fn sample_config(_input: &SampleInput, _env: &Environment) -> String {
    todo!()
}

/// A finding of `--validate-config`; prints as `PATH VALUE MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    /// The value as Python prints it; hidden for secrets.
    pub value: String,
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.path, self.value, self.message)
    }
}

/// What `--validate-config` asks the machine. Each answer is `Err(message)` when the check fails.
pub trait Machine {
    /// The port at these hosts can be listened on.
    fn can_listen(&self, address: &crate::HostPort) -> Result<(), String>;
    /// Something answers at this address.
    fn can_connect(&self, address: &crate::HostPort) -> Result<(), String>;
    /// The data directory is absent, empty, or one of the installed PostgreSQL version.
    fn data_dir(&self, path: &str) -> Result<(), String>;
    /// The program exists in `bin_dir` or the search path.
    fn program(&self, bin_dir: Option<&str>, name: &str) -> Result<(), String>;
}

/// All findings about a merged local configuration (`Local::raw`).
pub fn validate(_config: &Value, _machine: &dyn Machine) -> Vec<Finding> {
    todo!()
}
