//! The data directory as a whole: is there one, may we enter it, put it aside.

use std::path::{Path, PathBuf};

use jogi_core::ha::Aside;

/// What became of a directory that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAside {
    /// From, to; the data directory first, then symlinked `pg_wal` and tablespaces.
    pub renamed: Vec<(PathBuf, PathBuf)>,
    /// The disk had no room for two copies: removed instead, and why.
    pub removed: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {}

/// `PG_VERSION` of a data directory, `None` when there is none.
pub fn major_version(_data_dir: &Path) -> Option<u32> {
    todo!()
}

/// Missing, or a directory without anything in it.
pub fn is_empty(_data_dir: &Path) -> std::io::Result<bool> {
    todo!()
}

/// Renames the data directory with what it points to, or removes it when the disk has no room for both.
/// Blocking. The server must be fenced.
pub fn put_aside(_data_dir: &Path, _aside: Aside) -> Result<PutAside, DataDirError> {
    todo!()
}
