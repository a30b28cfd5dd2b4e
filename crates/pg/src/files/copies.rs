//! `.backup` copies of configuration files in the data directory.
//!
//! A copy made by a method that leaves configuration files out (they may lie outside the data directory, or be
//! excluded from a backup) still brings these, and gets its files back from them.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{FileError, write};
use crate::instance::Instance;

/// Copies the configuration files to `PGDATA/NAME.backup`, after each successful start. Blocking.
pub fn save_backups(instance: &Instance) -> Result<(), FileError> {
    let mode = write::mode_inside(instance.data_dir());
    for (file, copy) in pairs(instance) {
        match fs::read(&file) {
            Ok(text) => write::replace(&copy, &text, mode)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(FileError::io("read", &file)(e)),
        };
    }
    Ok(())
}

/// Restores configuration files that a copy lacks from their `.backup`; `pg_ident.conf` may be empty. Blocking.
pub fn restore_backups(instance: &Instance) -> Result<(), FileError> {
    let mode = super::config_mode(instance);
    for (file, copy) in pairs(instance) {
        if file.exists() {
            continue;
        }
        match fs::read(&copy) {
            Ok(text) => write::replace(&file, &text, mode)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound && file.ends_with("pg_ident.conf") => {
                write::replace(&file, b"", mode)?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(FileError::io("read", &copy)(e)),
        };
    }
    Ok(())
}

/// File and copy.
fn pairs(instance: &Instance) -> Vec<(PathBuf, PathBuf)> {
    let base = &instance.effective.config_base_name;
    let names =
        [format!("{base}.conf"), format!("{base}.base.conf"), "pg_hba.conf".to_owned(), "pg_ident.conf".to_owned()];
    let pair = |name: String| (instance.config_dir().join(&name), instance.data_dir().join(format!("{name}.backup")));
    names.into_iter().map(pair).collect()
}
