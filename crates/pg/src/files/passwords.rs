//! Password files: the one that `primary_conninfo` names, and short-lived ones for programs.
//!
//! A program gets a file of its own, because the shared one must keep serving the wal receiver while
//! pg_rewind runs as another role. No password is ever an argument or a variable.

use std::path::{Path, PathBuf};

use jogi_config::local::Credentials;
use jogi_config::postgres::{Conninfo, pgpass_text};
use jogi_core::ha::Upstream;

use super::{FileError, write};
use crate::instance::Instance;

const MODE: u32 = 0o600;

/// Writes the password file for `conninfo`; its path, or `None` when there is no password. Blocking.
pub fn write_pgpass(instance: &Instance, conninfo: &Conninfo) -> Result<Option<PathBuf>, FileError> {
    let Some(text) = pgpass_text(conninfo) else { return Ok(None) };
    let path = instance.pgpass();
    make_directory(&path)?;
    write::replace(&path, text.as_bytes(), MODE)?;
    Ok(Some(path))
}

fn make_directory(path: &Path) -> Result<(), FileError> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => std::fs::create_dir_all(dir).map_err(FileError::io("make", dir)),
        Some(_) | None => Ok(()),
    }
}

/// A password file that is removed with this value.
#[derive(Debug)]
pub struct Passwords {
    path: Option<PathBuf>,
}

impl Passwords {
    /// For one program (`purpose` makes the name). Blocking. `None` inside when there is no password.
    pub fn write(instance: &Instance, conninfo: &Conninfo, purpose: &str) -> Result<Passwords, FileError> {
        match pgpass_text(conninfo) {
            Some(text) => Passwords::store(instance, &text, purpose),
            None => Ok(Passwords::none()),
        }
    }

    /// The bare password, as initdb's `--pwfile` wants it. Blocking.
    pub fn plain(instance: &Instance, password: &str) -> Result<Passwords, FileError> {
        Passwords::store(instance, &format!("{password}\n"), "initdb")
    }

    /// For a program that needs none.
    pub fn none() -> Passwords {
        Passwords { path: None }
    }

    fn store(instance: &Instance, text: &str, purpose: &str) -> Result<Passwords, FileError> {
        let mut name = instance.pgpass().into_os_string();
        name.push(format!(".{purpose}.{}", std::process::id()));
        let path = PathBuf::from(name);
        make_directory(&path)?;
        write::replace(&path, text.as_bytes(), MODE)?;
        Ok(Passwords { path: Some(path) })
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// How programs of PostgreSQL connect to `upstream` as a role; of several addresses they take the one that is writable.
/// The password is in it and must not be printed.
pub fn conninfo_to(credentials: &Credentials, upstream: &Upstream, database: &str) -> Conninfo {
    let mut all = conninfo(credentials, &upstream.hosts(), &upstream.ports(), database);
    if !upstream.others.is_empty() {
        all.0.insert("target_session_attrs".to_owned(), "read-write".to_owned());
    }
    all
}

/// The connection parameters of a role at an address; the password is in it and must not be printed.
pub fn conninfo(credentials: &Credentials, host: &str, port: &str, database: &str) -> Conninfo {
    let mut all = credentials.parameters.clone();
    all.insert("dbname".to_owned(), database.to_owned());
    all.insert("host".to_owned(), host.to_owned());
    all.insert("port".to_owned(), port.to_owned());
    all.insert("user".to_owned(), credentials.username.clone().unwrap_or_else(crate::instance::system_user));
    if let Some(password) = &credentials.password {
        all.insert("password".to_owned(), password.expose().to_owned());
    }
    Conninfo(all)
}
