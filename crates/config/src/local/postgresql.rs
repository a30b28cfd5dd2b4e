//! `postgresql`: the parts of the section that are this member's own.
//!
//! What may also come from the store is not here but in [`crate::postgres::Effective`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::RawSection;
use super::section::{Findings, Section};
use crate::postgres::Conninfo;
use crate::{HostPort, Secret, python};

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

/// What a role's entry may hold: user name and password first, then what libpq knows of, with the first
/// PostgreSQL version whose libpq does. Everything else is dropped.
pub const CREDENTIAL_KEYS: [&str; 12] = [
    "username",
    "password",
    "sslmode",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "gssencmode",
    "channel_binding",
    "sslnegotiation",
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

impl Credentials {
    /// The parameters of a connection as this role, for [`Conninfo::to_dsn`].
    pub fn conninfo(&self) -> Conninfo {
        let mut map = self.parameters.clone();
        let username = self.username.clone().map(|username| ("user".to_owned(), username));
        let password = self.password.as_ref().map(|password| ("password".to_owned(), password.expose().to_owned()));
        map.extend(username.into_iter().chain(password));
        Conninfo(map)
    }

    fn read(section: &Section<'_>, found: &mut Findings) -> Credentials {
        let parameters = CREDENTIAL_KEYS[2..].iter();
        Credentials {
            username: section.text("username", found),
            password: section.secret("password", found),
            parameters: parameters.filter_map(|key| Some(((*key).to_owned(), section.text(key, found)?))).collect(),
        }
    }
}

impl Authentication {
    fn read(section: &Section<'_>, found: &mut Findings) -> Authentication {
        let entry = |key: &str, found: &mut Findings| {
            let present = section.map.get(key).is_some_and(|entry| !entry.is_null());
            present.then(|| Credentials::read(&section.section(key, found), found))
        };
        let replication = entry("replication", found).unwrap_or_default();
        if replication.username.is_none() {
            let section = section.section("replication", &mut Findings::default()).into_owned();
            section.missing("username", "the role that standbys connect as", found);
        }
        Authentication { superuser: entry("superuser", found), replication, rewind: entry("rewind", found) }
    }
}

impl Postgresql {
    pub(super) fn read(section: &Section<'_>, found: &mut Findings) -> Option<Postgresql> {
        const PORT: u16 = 5432;
        let listen = section.address("listen", Some(PORT), found);
        if listen.is_none() {
            section.missing("listen", "ADDRESSES:PORT, for instance 0.0.0.0:5432", found);
        }
        let data_dir = section.path_value("data_dir", found);
        if data_dir.is_none() {
            section.missing("data_dir", "the path of the data directory", found);
        }
        let connect_address = section.connect_address("connect_address", Some(PORT), found);
        let proxy_address = section.address("proxy_address", Some(PORT), found);
        let (legacy, legacy_pg_rewind) = legacy_authentication(&section.map);
        let authentication = Authentication::read(&legacy.section("authentication", found), found);
        let data_dir = data_dir?;
        Some(Postgresql {
            listen: listen?,
            connect_address,
            proxy_address,
            config_dir: section.path_value("config_dir", found).unwrap_or_else(|| data_dir.clone()),
            data_dir,
            database: section.text("database", found).unwrap_or_else(|| "postgres".into()),
            pgpass: section.path_value("pgpass", found),
            authentication,
            legacy_pg_rewind,
            raw: RawSection(section.map.clone().into_owned()),
        })
    }
}

/// The section with `authentication` made of the roles' old places, and whether `pg_rewind` stood there.
fn legacy_authentication(map: &Map<String, Value>) -> (Section<'static>, bool) {
    let mut map = map.clone();
    let absent = !map.contains_key("authentication");
    if absent {
        let roles = ["replication", "superuser"].into_iter();
        let old: Map<String, Value> =
            roles.filter_map(|role| Some((role.to_owned(), map.get(role)?.clone()))).collect();
        map.insert("authentication".into(), Value::Object(old));
    }
    let pg_rewind = map.get("pg_rewind").filter(|entry| python::is_true(entry)).cloned();
    if let (Some(entry), Some(Value::Object(roles))) = (&pg_rewind, map.get_mut("authentication")) {
        roles.entry("superuser").or_insert_with(|| entry.clone());
    }
    let section = Section { path: "postgresql".into(), map: std::borrow::Cow::Owned(map) };
    (section, absent && pg_rewind.is_some())
}
