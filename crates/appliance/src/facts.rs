//! What the decisions need to know of the machine. The shell half reads it; tests write it down.

use std::collections::BTreeMap;

/// Where this machine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    Aws,
    Google,
    OpenStack,
    #[default]
    Local,
    Unsupported,
}

impl Provider {
    pub const ALL: [(&'static str, Provider); 5] = [
        ("aws", Provider::Aws),
        ("google", Provider::Google),
        ("openstack", Provider::OpenStack),
        ("local", Provider::Local),
        ("unsupported", Provider::Unsupported),
    ];

    pub fn parse(text: &str) -> Option<Provider> {
        Provider::ALL.iter().find(|(name, _)| *name == text).map(|(_, provider)| *provider)
    }

    pub fn name(self) -> &'static str {
        Provider::ALL.iter().find(|(_, provider)| *provider == self).map_or("", |(name, _)| name)
    }
}

/// The instance as the provider's metadata describe it; what they do not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub zone: Option<String>,
    pub id: Option<String>,
    pub ip: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub provider: Provider,
    pub instance: Instance,
    pub host_name: String,
    /// The first address of the host name.
    pub host_ip: String,
    /// The smaller of memory and the limit of the control group, in MiB.
    pub memory_mb: u64,
    pub cpus: u64,
    /// A socket of `::` also takes IPv4.
    pub dual_stack: bool,
    pub renice: Renice,
    /// Content of `PG_VERSION` in the data directory.
    pub data_version: Option<String>,
    /// Directory of server programs → their version (`18`).
    pub servers: BTreeMap<String, String>,
    /// The one of them that PATH leads to.
    pub server_of_path: Option<String>,
    /// `PATH`, for the jobs.
    pub path: String,
}

/// Whether the priority of processes may be raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renice {
    #[default]
    No,
    /// Only by root's own jobs: no-new-privileges stops what the program's file would give.
    ByRoot,
    Yes,
}
