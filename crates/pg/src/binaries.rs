//! PostgreSQL's programs: where they are and which version they have.

use std::path::{Path, PathBuf};

use jogi_config::postgres::{BinNames, DescribeConfig};

/// The oldest version that this code runs.
pub const OLDEST: u32 = 100_000;

/// The installed programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    pub pg_ctl: PathBuf,
    pub pg_controldata: PathBuf,
    pub pg_basebackup: PathBuf,
    pub pg_rewind: PathBuf,
    pub pg_isready: PathBuf,
    /// e.g. 150020.
    pub version: u32,
    /// The parameters that `postgres` knows (`postgres --describe-config`).
    pub known: DescribeConfig,
}

#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error("PostgreSQL's program '{name}' was not found in {searched}: install the server package or set postgresql.bin_dir")]
    Missing { name: String, searched: String },
    #[error("{} --version could not be run: {cause}", program.display())]
    Broken { program: PathBuf, cause: String },
    #[error("{} is PostgreSQL {version}, and PostgreSQL 10 is the oldest that is supported: set postgresql.bin_dir to a newer one", program.display())]
    TooOld { program: PathBuf, version: String },
}

impl Binaries {
    /// Finds the programs in `bin_dir` (else in PATH) and asks `postgres` for its version. Blocking.
    pub fn locate(_bin_dir: Option<&Path>, _names: &BinNames) -> Result<Binaries, BinariesError> {
        todo!()
    }
}
