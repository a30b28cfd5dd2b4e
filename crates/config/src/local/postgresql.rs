//! `postgresql`: the parts of the section that are this member's own.
//!
//! What may also come from the store is not here but in [`crate::postgres::Effective`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::local::RawSection;
use crate::{HostPort, Secret};

#[derive(Clone, Debug, PartialEq)]
pub struct Postgresql {
    /// `listen_addresses` and `port`.
    pub listen: HostPort,
    pub connect_address: Option<HostPort>,
    pub proxy_address: Option<HostPort>,
    pub data_dir: PathBuf,
    /// The data directory when not given.
    pub config_dir: PathBuf,
    /// Maintenance database.
    pub database: String,
    /// None: `pgpass` in the home directory.
    pub pgpass: Option<PathBuf>,
    pub authentication: Authentication,
    /// True when the legacy `postgresql.pg_rewind` stands for `use_pg_rewind`.
    pub legacy_pg_rewind: bool,
    /// The section as written, legacy forms included.
    pub raw: RawSection,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// None: the user of the operating system by local authentication.
    pub superuser: Option<Credentials>,
    pub replication: Credentials,
    /// Used from PostgreSQL 11 on; the superuser when not given.
    pub rewind: Option<Credentials>,
}

/// A role and how to connect as it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// `sslmode`, `sslcert` … as libpq names them.
    pub parameters: BTreeMap<String, String>,
}

/// What a role's entry may hold besides user name and password, with the first PostgreSQL version whose
/// libpq knows it.
pub const CONNECTION_PARAMETERS: [(&str, u32); 10] = [
    ("sslmode", 0),
    ("sslcert", 0),
    ("sslkey", 0),
    ("sslpassword", 130_000),
    ("sslrootcert", 0),
    ("sslcrl", 0),
    ("sslcrldir", 140_000),
    ("gssencmode", 120_000),
    ("channel_binding", 130_000),
    ("sslnegotiation", 170_000),
];

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&String> = self.parameters.keys().collect();
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &self.password)
            .field("parameters", &parameters)
            .finish()
    }
}

impl Authentication {
    /// The role that pg_rewind connects as, by server version (for instance 150002).
    pub fn rewind(&self, version: u32) -> Option<&Credentials> {
        match &self.rewind {
            Some(credentials) if version >= 110_000 => Some(credentials),
            Some(_) | None => self.superuser.as_ref(),
        }
    }
}
