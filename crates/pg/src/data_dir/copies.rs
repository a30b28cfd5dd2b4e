//! Copies of the data directory that were put aside, and their end.
//!
//! `DATA_DIR.old-SECONDS` was replaced by a new copy and held nothing of its own. `DATA_DIR.diverged-SECONDS` may hold
//! commits that no other member has.
//!
//! The hazard is removing what is not ours to remove: a directory that a person named so, one that was moved back and
//! forth, a link to somewhere else. So only a directory is removed that carries the mark which was written into it
//! before it was renamed, and which names it; what `pg_wal` and tablespaces linked to goes with it only where the mark
//! names that too and it was renamed likewise. The mark goes last: whoever is interrupted goes on later.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::aside::size_of_tree;
use super::{DataDirError, failed};

pub(super) const OLD: &str = ".old-";
pub(super) const DIVERGED: &str = ".diverged-";
const MARK: &str = ".jogi-aside";

/// One directory that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub path: PathBuf,
    pub diverged: bool,
    /// Unix time at which it was put aside.
    pub at: u64,
    /// What its links led to, renamed with it.
    pub with: Vec<PathBuf>,
}

/// What says that a directory was put aside here, and under which name.
pub(super) struct Mark(Value);

impl Mark {
    pub fn new(moved: &Path, with: Vec<PathBuf>) -> Mark {
        let with: Vec<_> = with.iter().map(|path| path.to_string_lossy()).collect();
        Mark(json!({"put_aside_as": moved.to_string_lossy(), "with": with}))
    }

    pub fn write(&self, data_dir: &Path) -> Result<(), DataDirError> {
        let path = data_dir.join(MARK);
        let written = fs::File::create(&path).and_then(|mut file| {
            file.write_all(self.0.to_string().as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed("write", &path))
    }

    /// The mark of a directory, when it names this very directory; what its links led to.
    fn read(path: &Path, suffix: &str) -> Option<Vec<PathBuf>> {
        let mark: Value = serde_json::from_slice(&fs::read(path.join(MARK)).ok()?).ok()?;
        if mark["put_aside_as"].as_str()? != path.to_str()? {
            return None;
        }
        let with = mark["with"].as_array()?.iter().filter_map(Value::as_str);
        Some(with.filter(|name| name.ends_with(suffix)).map(PathBuf::from).collect())
    }
}

/// The copies beside the data directory that were put aside here, oldest first.
pub(super) fn copies(data_dir: &Path) -> Vec<Copy> {
    // A data directory that is a link: its copies lie beside what it points to.
    let real = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let Some((parent, name)) = real.parent().zip(real.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<Copy> = directories.filter_map(|entry| copy(&entry.path(), &name)).collect();
    found.sort_by_key(|copy| copy.at);
    found
}

fn copy(path: &Path, data_dir: &str) -> Option<Copy> {
    let suffix = path.file_name()?.to_str()?.strip_prefix(data_dir)?;
    let (diverged, at) = match (suffix.strip_prefix(OLD), suffix.strip_prefix(DIVERGED)) {
        (Some(at), _) => (false, at),
        (None, Some(at)) => (true, at),
        (None, None) => return None,
    };
    let at = at.parse().ok()?;
    let with = Mark::read(path, suffix)?;
    Some(Copy { path: path.to_owned(), diverged, at, with })
}

/// Removes the copies that are not needed any more: all that held nothing of their own, and of those that may, all but
/// the newest `keep_diverged`. Each is named in the log before it goes. Blocking, for minutes; ends early, between two
/// files, when `stop` says so.
pub fn remove_copies(data_dir: &Path, keep_diverged: usize, stop: &dyn Fn() -> bool) -> Result<(), DataDirError> {
    let (diverged, old): (Vec<Copy>, Vec<Copy>) = copies(data_dir).into_iter().partition(|copy| copy.diverged);
    for copy in old {
        remove(&copy, "a new copy has taken its place", stop)?;
    }
    let surplus = diverged.len().saturating_sub(keep_diverged);
    for copy in &diverged[..surplus] {
        remove(copy, "a later one has taken its place", stop)?;
    }
    for copy in &diverged[surplus..] {
        tracing::warn!(
            "{} is kept: it may hold commits that no other member has. It goes when a later one takes its place or \
             the disk needs the room; remove it when nothing of it is wanted",
            copy.path.display()
        );
    }
    Ok(())
}

/// Removes one copy with what its links led to.
pub(super) fn remove(copy: &Copy, why: &str, stop: &dyn Fn() -> bool) -> Result<(), DataDirError> {
    let size = size_of_tree(&copy.path) + copy.with.iter().map(|dir| size_of_tree(dir)).sum::<u64>();
    tracing::warn!("removing {} ({} MB): {why}", copy.path.display(), size.div_ceil(1 << 20));
    for target in copy.with.iter().filter(|target| is_directory(target)) {
        remove_tree(target, stop)?;
    }
    remove_within(&copy.path, Some(MARK), stop)?;
    gone(fs::remove_file(copy.path.join(MARK)), &copy.path)?;
    gone(fs::remove_dir(&copy.path), &copy.path)
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn remove_tree(dir: &Path, stop: &dyn Fn() -> bool) -> Result<(), DataDirError> {
    remove_within(dir, None, stop)?;
    gone(fs::remove_dir(dir), dir)
}

fn remove_within(dir: &Path, but: Option<&str>, stop: &dyn Fn() -> bool) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return gone(Err(error), dir),
    };
    for entry in entries {
        let entry = entry.map_err(failed("read", dir))?;
        if but.is_some_and(|name| entry.file_name() == name) {
            continue;
        }
        if stop() {
            return Err(DataDirError::Stopped { path: dir.to_owned() });
        }
        let path = entry.path();
        // Links are removed, never followed.
        match entry.file_type().map_err(failed("look at", &path))?.is_dir() {
            true => remove_tree(&path, stop)?,
            false => gone(fs::remove_file(&path), &path)?,
        }
    }
    Ok(())
}

/// What somebody else has removed meanwhile is as well.
fn gone(removed: io::Result<()>, path: &Path) -> Result<(), DataDirError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::symlink;

    use super::super::tests::cluster;
    use super::*;

    /// A directory as it stands after it was put aside.
    fn set_aside(dir: &Path, suffix: &str) -> PathBuf {
        let (data, moved) = (cluster(dir), dir.join(format!("data{suffix}")));
        fs::create_dir(data.join("base")).expect("made");
        fs::write(data.join("base/1"), "rows").expect("written");
        Mark::new(&moved, Vec::new()).write(&data).expect("marked");
        fs::rename(&data, &moved).expect("renamed");
        moved
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("there").flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaced_copies_go_and_the_newest_diverged_one_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        for suffix in [".old-100", ".old-300", ".diverged-99", ".diverged-200"] {
            set_aside(dir.path(), suffix);
        }
        let data = cluster(dir.path());
        remove_copies(&data, 1, &|| false).expect("removed");
        assert_eq!(names(dir.path()), ["data", "data.diverged-200"]);
        assert!(data.join("PG_VERSION").exists());
    }

    #[test]
    fn what_was_not_put_aside_here_is_never_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = cluster(dir.path());
        fs::rename(&data, dir.path().join("data.old-20240101")).expect("by a person");
        fs::rename(set_aside(dir.path(), ".old-100"), dir.path().join("data.old-200")).expect("renamed again");
        fs::rename(set_aside(dir.path(), ".old-300"), dir.path().join("data.old-300.keep")).expect("renamed");
        let elsewhere = set_aside(dir.path(), ".old-400");
        fs::rename(&elsewhere, dir.path().join("elsewhere")).expect("moved");
        symlink(dir.path().join("elsewhere"), &elsewhere).expect("linked");
        set_aside(dir.path(), "base.old-500");
        let data = cluster(dir.path());
        let before = names(dir.path());
        remove_copies(&data, 0, &|| false).expect("nothing to remove");
        assert_eq!(names(dir.path()), before);
        assert!(dir.path().join("elsewhere/base/1").exists());
    }

    #[test]
    fn what_links_led_to_goes_with_it_and_what_they_lead_to_otherwise_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = cluster(dir.path());
        for (target, link) in [("wal", "pg_wal"), ("space", "pg_tblspc/16384")] {
            fs::create_dir(dir.path().join(target)).expect("made");
            fs::write(dir.path().join(target).join("file"), target).expect("written");
            symlink(dir.path().join(target), data.join(link)).expect("linked");
        }
        fs::create_dir(dir.path().join("reports")).expect("made");
        fs::write(dir.path().join("reports/kept"), "").expect("written");
        symlink(dir.path().join("reports"), data.join("log")).expect("linked");
        super::super::put_aside(&data, jogi_core::ha::Aside::Old).expect("put aside");
        for name in ["wal", "space"] {
            fs::create_dir(dir.path().join(name)).expect("of the new copy");
        }
        remove_copies(&data, 1, &|| false).expect("removed");
        assert_eq!(names(dir.path()), ["reports", "space", "wal"]);
        assert!(dir.path().join("reports/kept").exists());
    }

    #[test]
    fn a_removal_that_was_stopped_is_gone_on_with() {
        let dir = tempfile::tempdir().expect("a directory");
        set_aside(dir.path(), ".old-100");
        let data = cluster(dir.path());
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) >= 2;
        assert!(matches!(remove_copies(&data, 1, &stop), Err(DataDirError::Stopped { .. })));
        assert_eq!(names(dir.path()), ["data", "data.old-100"], "it is known for ours to the last");
        remove_copies(&data, 1, &|| false).expect("removed");
        assert_eq!(names(dir.path()), ["data"]);
    }

    #[test]
    fn copies_of_a_linked_data_directory_lie_beside_what_it_points_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let real = cluster(dir.path());
        fs::create_dir(dir.path().join("links")).expect("made");
        let link = dir.path().join("links/pgdata");
        symlink(&real, &link).expect("linked");
        super::super::put_aside(&link, jogi_core::ha::Aside::Diverged).expect("put aside");
        assert_eq!(copies(&link).len(), 1);
        remove_copies(&link, 0, &|| false).expect("removed");
        assert_eq!(names(dir.path()), ["data", "links"]);
    }
}
