//! Putting a data directory aside.
//!
//! The hazard: data that nobody meant to lose. A directory is renamed as long as the disk has room for a new copy
//! beside it; it is removed only when it has not, and then the log says so. What is renamed carries a *mark*, so that
//! later only copies made here are ever removed again ([`super::copies`]).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jogi_core::ha::Aside;

use super::copies::{DIVERGED, Mark, OLD, copies, remove};
use super::{DataDirError, create, empty_directory, failed, is_empty, links, wipe};

/// Left free on a disk that takes a new copy beside the old one.
const SPARE_BYTES: u64 = 256 << 20;

/// What became of a directory that was put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutAside {
    /// From, to; the data directory first, then what `pg_wal` and tablespaces link to.
    pub renamed: Vec<(PathBuf, PathBuf)>,
    /// Why it, or what a link of it leads to, was removed instead of renamed.
    pub removed: Option<String>,
}

/// Renames the data directory with what it points to, or removes it when the disk has no room for both.
/// Blocking. The server must be fenced.
pub fn put_aside(data_dir: &Path, aside: Aside) -> Result<PutAside, DataDirError> {
    let mut done = PutAside::default();
    if is_empty(data_dir).map_err(failed("read", data_dir))? {
        return Ok(done);
    }
    let gives_way = match aside {
        Aside::Failed => false,
        Aside::Old | Aside::Diverged => true,
    };
    if gives_way && let Some(why) = make_room(data_dir, aside)? {
        wipe(data_dir)?;
        done.removed = Some(why);
        return Ok(done);
    }
    let suffix = suffix(data_dir, aside);
    match rename_all(data_dir, gives_way, &suffix, &mut done) {
        Ok(()) => Ok(done),
        // What is copied there next needs it empty.
        Err(DataDirError::Io { source, .. }) if gives_way && done.renamed.is_empty() && stays_in_place(&source) => {
            wipe(data_dir)?;
            done.removed = Some(format!("{} cannot be renamed ({source})", data_dir.display()));
            Ok(done)
        }
        Err(error) => Err(error),
    }
}

fn suffix(data_dir: &Path, aside: Aside) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match aside {
        Aside::Failed if !with_suffix(data_dir, ".failed").exists() => ".failed".to_owned(),
        Aside::Failed => format!(".failed-{seconds}"),
        Aside::Old => format!("{OLD}{seconds}"),
        Aside::Diverged => format!("{DIVERGED}{seconds}"),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A mount point, or a directory above that is not ours: no renaming there, now or later.
fn stays_in_place(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

fn rename_all(data_dir: &Path, gives_way: bool, suffix: &str, done: &mut PutAside) -> Result<(), DataDirError> {
    // A data directory that is a link: what it points to is renamed, and the link stays where it is.
    let real = fs::canonicalize(data_dir).map_err(failed("look at", data_dir))?;
    let links = links(&real);
    let moved = with_suffix(&real, suffix);
    if gives_way {
        let mark = Mark::new(&moved, links.iter().map(|(_, target)| with_suffix(target, suffix)).collect());
        if let Err(error) = mark.write(&real) {
            tracing::warn!("{error}: {} will not be removed again by itself", moved.display());
        }
    }
    fs::rename(&real, &moved).map_err(failed("rename", &real))?;
    sync_parent(&real)?;
    done.renamed.push((real.clone(), moved.clone()));
    if real != data_dir {
        create(&real)?;
    }
    for (link, target) in links {
        match rename_target(&moved.join(link), &target, suffix) {
            Ok(to) => done.renamed.push((target, to)),
            Err(DataDirError::Io { source, .. }) if gives_way && stays_in_place(&source) => {
                empty_directory(&target)?;
                done.removed = Some(format!("{} cannot be renamed ({source})", target.display()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Renames what a link of the renamed data directory points to, and points the link there.
fn rename_target(link: &Path, target: &Path, suffix: &str) -> Result<PathBuf, DataDirError> {
    let moved = with_suffix(target, suffix);
    fs::rename(target, &moved).map_err(failed("rename", target))?;
    fs::remove_file(link).map_err(failed("remove", link))?;
    std::os::unix::fs::symlink(&moved, link).map_err(failed("make the link", link))?;
    sync_parent(target)?;
    Ok(moved)
}

fn sync_parent(path: &Path) -> Result<(), DataDirError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let synced = fs::File::open(parent).and_then(|dir| dir.sync_all());
    synced.map_err(failed("write out", parent))
}

/// Makes sure that the disk takes a new copy beside the old one; removes older copies for that, those first that
/// nobody misses, and one that may hold commits of its own only for another such one. The reason why not, when it
/// does not.
fn make_room(data_dir: &Path, aside: Aside) -> Result<Option<String>, DataDirError> {
    let needed = size_of_tree(data_dir).saturating_add(SPARE_BYTES);
    let (diverged, old): (Vec<_>, Vec<_>) = copies(data_dir).into_iter().partition(|copy| copy.diverged);
    let dispensable = if aside == Aside::Diverged { diverged } else { Vec::new() };
    for copy in old.into_iter().chain(dispensable) {
        if free_bytes(data_dir).is_none_or(|free| free >= needed) {
            return Ok(None);
        }
        remove(&copy, "to make room for a new copy", &|| false)?;
    }
    match free_bytes(data_dir) {
        Some(free) if free < needed => Ok(Some(format!(
            "the disk has {} MB free and a second copy of {} needs {} MB",
            free >> 20,
            data_dir.display(),
            needed >> 20
        ))),
        Some(_) | None => Ok(None),
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes on disk, links not followed.
pub(super) fn size_of_tree(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size_of_tree(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::cluster;
    use super::*;

    #[test]
    fn a_directory_is_put_aside_with_all_that_it_links_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = cluster(dir.path());
        for (target, link) in [("wal", "pg_wal"), ("space", "pg_tblspc/16384")] {
            fs::create_dir(dir.path().join(target)).expect("made");
            fs::write(dir.path().join(target).join("kept"), target).expect("written");
            std::os::unix::fs::symlink(dir.path().join(target), data.join(link)).expect("linked");
        }
        let done = put_aside(&data, Aside::Failed).expect("put aside");
        assert_eq!(done.removed, None);
        assert_eq!(done.renamed.len(), 3);
        assert!(!data.exists() && !dir.path().join("wal").exists());
        let aside = dir.path().join("data.failed");
        for (link, target) in [("pg_wal", "wal"), ("pg_tblspc/16384", "space")] {
            assert_eq!(fs::read_to_string(aside.join(link).join("kept")).expect("follows"), target);
        }
        let again = cluster(dir.path());
        let done = put_aside(&again, Aside::Failed).expect("put aside");
        assert!(done.renamed[0].1.to_string_lossy().contains(".failed-"), "the first one is kept");
    }

    #[test]
    fn an_old_directory_gets_a_time_and_an_empty_one_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = cluster(dir.path());
        let done = put_aside(&data, Aside::Old).expect("put aside");
        let found: Vec<PathBuf> = copies(&data).into_iter().map(|copy| copy.path).collect();
        assert_eq!(found, [done.renamed[0].1.clone()]);
        fs::create_dir(&data).expect("made");
        assert_eq!(put_aside(&data, Aside::Old).expect("nothing to do"), PutAside::default());
        assert!(data.exists());
    }
}
