//! Writing files so that a reader, and a start after a power cut, see the old or the new text and nothing else.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::FileError;

/// Mode of files in the data directory: the group may read where it may read the directory (PostgreSQL's
/// `--allow-group-access`).
pub fn mode_inside(data_dir: &Path) -> u32 {
    let group_reads = fs::metadata(data_dir).is_ok_and(|found| found.permissions().mode() & 0o040 != 0);
    if group_reads { 0o640 } else { 0o600 }
}

/// Replaces the file when its text differs; `true` when it did. A symbolic link stays, what it points to is replaced.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> Result<bool, FileError> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::read(path).is_ok_and(|before| before == text) {
        return Ok(false);
    }
    let beside = beside(path);
    let written = write_out(&beside, text, mode).and_then(|()| fs::rename(&beside, path)).and_then(|()| sync_dir(path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map(|()| true).map_err(FileError::io("write", path))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write_out(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // The umask may have taken bits away, and a file left from before may have others.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Removes a file; `true` when it was there.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path).map(|()| true).map_err(FileError::io("remove", path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(FileError::io("remove", path)(e)),
    }
}
