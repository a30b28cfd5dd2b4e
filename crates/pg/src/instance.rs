//! One server as it is configured at this moment: a cheap value that every function of this crate takes.
//!
//! It is made again whenever a layer of the configuration changes; what is under way keeps the one that it
//! began with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jogi_config::Local;
use jogi_config::postgres::{DescribeConfig, Effective, effective_postgresql};
use serde_json::Value;

use crate::binaries::Binaries;

/// One server: the local configuration, the dynamic one, what both make together, and the installed binaries.
#[derive(Clone, Debug)]
pub struct Instance {
    pub local: Arc<Local>,
    /// The `config` key in force.
    pub dynamic: Arc<Value>,
    /// The `postgresql` section that both make.
    pub effective: Arc<Effective>,
    pub binaries: Arc<Binaries>,
}

impl Instance {
    pub fn new(local: Arc<Local>, dynamic: Arc<Value>, binaries: Arc<Binaries>) -> Instance {
        let effective = Arc::new(effective_postgresql(&dynamic, &local));
        Instance { local, dynamic, effective, binaries }
    }

    /// The same server under another dynamic configuration.
    pub fn with_dynamic(&self, dynamic: Arc<Value>) -> Instance {
        match dynamic == self.dynamic {
            true => self.clone(),
            false => Instance::new(self.local.clone(), dynamic, self.binaries.clone()),
        }
    }

    /// Made from the same values (not merely equal ones): cheap.
    pub fn is_same_configuration(&self, other: &Instance) -> bool {
        Arc::ptr_eq(&self.local, &other.local)
            && Arc::ptr_eq(&self.effective, &other.effective)
            && Arc::ptr_eq(&self.binaries, &other.binaries)
    }

    pub fn data_dir(&self) -> &Path {
        &self.local.postgresql.data_dir
    }

    /// Where `postgresql.conf`, `pg_hba.conf` and `pg_ident.conf` are; usually the data directory.
    pub fn config_dir(&self) -> &Path {
        &self.local.postgresql.config_dir
    }

    /// `CONFIG_DIR/NAME.conf`.
    pub fn conf_file(&self) -> PathBuf {
        self.config_dir().join(format!("{}.conf", self.effective.config_base_name))
    }

    /// The file that programs and `primary_conninfo` take the password from.
    pub fn pgpass(&self) -> PathBuf {
        match &self.local.postgresql.pgpass {
            Some(path) => path.clone(),
            None => std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join("pgpass"),
        }
    }

    /// The version that the files are written for: the binaries' number when the data directory is of their
    /// major version (or does not exist yet), else the data directory's major version.
    pub fn version(&self) -> u32 {
        match crate::data_dir::major_version(self.data_dir()) {
            Some(major) if major != self.binaries.version / 10_000 => major * 10_000,
            Some(_) | None => self.binaries.version,
        }
    }

    /// The parameters that the installed `postgres` knows, when the data directory is of its version.
    pub fn known(&self) -> Option<&DescribeConfig> {
        (self.version() == self.binaries.version).then_some(&self.binaries.known)
    }
}

/// The name of the user that we run as: PostgreSQL's default for a role that is not named.
pub fn system_user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "postgres".to_owned())
}
