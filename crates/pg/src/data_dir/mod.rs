//! The data directory as a whole: is there one, may we enter it, make it, empty it. [`aside`] renames it,
//! [`copies`] removes what was renamed and is not needed any more.

mod aside;
mod copies;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use aside::{PutAside, put_aside};
pub use copies::remove_copies;

/// What is at the place of the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Missing or without anything in it.
    Empty,
    /// Cannot be used as it is; the text says why and what to do.
    Unusable(String),
    /// Something that is no complete cluster.
    Broken(String),
    /// A cluster of this major version (9 for any before 10).
    Cluster { major: u32 },
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the removal of {} was stopped", path.display())]
    Stopped { path: PathBuf },
}

impl From<DataDirError> for jogi_core::ha::Failure {
    fn from(error: DataDirError) -> Self {
        jogi_core::ha::Failure::Failed(error.to_string())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { action, path, source }
}

/// `PG_VERSION` of a data directory, `None` when there is none.
pub fn major_version(data_dir: &Path) -> Option<u32> {
    let text = fs::read_to_string(data_dir.join("PG_VERSION")).ok()?;
    text.trim().split('.').next()?.parse().ok()
}

/// Missing, or a directory without anything in it but hidden files and `lost+found` (as Patroni decides).
pub fn is_empty(data_dir: &Path) -> io::Result<bool> {
    if data_dir.join("global/pg_control").exists() {
        return Ok(false);
    }
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks at the data directory for programs of major version `major`. Blocking.
pub fn inspect(data_dir: &Path, major: u32) -> Found {
    match is_empty(data_dir) {
        Ok(true) => return unwritable_parent(data_dir).map_or(Found::Empty, Found::Unusable),
        Ok(false) => {}
        Err(e) => return Found::Unusable(unreadable(data_dir, &e)),
    }
    if let Some(why) = wrong_owner(data_dir) {
        return Found::Unusable(why);
    }
    match major_version(data_dir) {
        None => Found::Broken(format!(
            "{} has files in it and no PG_VERSION: it is not a PostgreSQL data directory. Move what is there away or set postgresql.data_dir to another place",
            data_dir.display()
        )),
        Some(found) if found != major => Found::Unusable(format!(
            "{} is of PostgreSQL {found} and the programs are of PostgreSQL {major}: set postgresql.bin_dir to those of {found}, or upgrade the data",
            data_dir.display()
        )),
        Some(found) => Found::Cluster { major: found },
    }
}

fn unreadable(data_dir: &Path, error: &io::Error) -> String {
    let user = crate::instance::system_user();
    format!(
        "the data directory {} cannot be read by user {user}: {error}. It must belong to the user that runs PostgreSQL, with mode 0700 or 0750, and the directories above it must let that user pass",
        data_dir.display()
    )
}

/// For an empty data directory: why nothing could be made there.
fn unwritable_parent(data_dir: &Path) -> Option<String> {
    if data_dir.exists() {
        return wrong_owner(data_dir);
    }
    let above = data_dir.ancestors().skip(1).find(|dir| dir.exists())?;
    match rustix::fs::access(above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) => None,
        Err(e) => Some(format!(
            "the data directory {} does not exist and user {} cannot make it in {}: {e}. Make it and give it to that user",
            data_dir.display(),
            crate::instance::system_user(),
            above.display()
        )),
    }
}

/// PostgreSQL does not start on a directory of somebody else.
fn wrong_owner(data_dir: &Path) -> Option<String> {
    let found = match fs::metadata(data_dir) {
        Ok(found) => found,
        Err(e) => return Some(unreadable(data_dir, &e)),
    };
    let own = rustix::process::geteuid().as_raw();
    if found.uid() == own {
        return None;
    }
    Some(format!(
        "the data directory {} belongs to user number {} and this runs as {} (number {own}): PostgreSQL starts only on a directory of its own user. Run as that user or chown the directory",
        data_dir.display(),
        found.uid(),
        crate::instance::system_user()
    ))
}

/// Makes the data directory with mode 0700 where it is missing. Blocking.
pub fn create(data_dir: &Path) -> Result<(), DataDirError> {
    if data_dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(data_dir).map_err(failed("make", data_dir))?;
    fs::set_permissions(data_dir, fs::Permissions::from_mode(0o700)).map_err(failed("set the mode of", data_dir))
}

/// Removes everything in the data directory, and what `pg_wal` and tablespaces link to, and keeps the directories
/// themselves (they may be mount points). Blocking. The server must be fenced.
pub fn wipe(data_dir: &Path) -> Result<(), DataDirError> {
    for (_, target) in links(data_dir) {
        empty_directory(&target)?;
    }
    empty_directory(data_dir)
}

fn empty_directory(dir: &Path) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("read", dir)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("read", dir))?;
        let path = entry.path();
        let is_dir = entry.file_type().map_err(failed("look at", &path))?.is_dir();
        if is_dir && entry.file_name() == "lost+found" {
            continue;
        }
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed("remove", &path))?;
    }
    Ok(())
}

/// The symbolic links of a data directory that lead to data outside: relative path and target.
fn links(data_dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut candidates = vec![PathBuf::from("pg_wal"), PathBuf::from("pg_xlog")];
    let tablespaces = fs::read_dir(data_dir.join("pg_tblspc"));
    candidates.extend(tablespaces.into_iter().flatten().flatten().map(|e| Path::new("pg_tblspc").join(e.file_name())));
    let follow = |link: PathBuf| {
        let path = data_dir.join(&link);
        let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        let target = fs::canonicalize(&path).ok().filter(|target| is_link && !target.starts_with(data_dir))?;
        Some((link, target))
    };
    candidates.into_iter().filter_map(follow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn cluster(dir: &Path) -> PathBuf {
        let data = dir.join("data");
        fs::create_dir_all(data.join("global")).expect("made");
        fs::create_dir_all(data.join("pg_tblspc")).expect("made");
        fs::write(data.join("PG_VERSION"), "15\n").expect("written");
        fs::write(data.join("global/pg_control"), "x").expect("written");
        data
    }

    #[test]
    fn what_is_there_is_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = cluster(dir.path());
        assert_eq!(inspect(&data, 15), Found::Cluster { major: 15 });
        let Found::Unusable(why) = inspect(&data, 17) else { panic!("another version") };
        assert!(why.contains("PostgreSQL 15") && why.contains("PostgreSQL 17") && why.contains("bin_dir"), "{why}");
        assert_eq!(inspect(&dir.path().join("none"), 15), Found::Empty);
        let hidden = dir.path().join("hidden");
        fs::create_dir_all(hidden.join("lost+found")).expect("made");
        fs::write(hidden.join(".profile"), "").expect("written");
        assert_eq!(inspect(&hidden, 15), Found::Empty);
        fs::write(hidden.join("holiday.jpg"), "").expect("written");
        assert!(matches!(inspect(&hidden, 15), Found::Broken(why) if why.contains("no PG_VERSION")));
    }

    #[test]
    fn wiping_keeps_the_directories_themselves() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = cluster(dir.path());
        fs::create_dir(dir.path().join("wal")).expect("made");
        fs::write(dir.path().join("wal/x"), "").expect("written");
        std::os::unix::fs::symlink(dir.path().join("wal"), data.join("pg_wal")).expect("linked");
        wipe(&data).expect("wiped");
        assert!(data.exists() && dir.path().join("wal").exists());
        assert_eq!(fs::read_dir(&data).expect("there").count(), 0);
        assert_eq!(fs::read_dir(dir.path().join("wal")).expect("there").count(), 0);
    }
}
