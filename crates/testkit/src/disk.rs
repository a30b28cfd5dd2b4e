//! A member's disk that is small, so that it can be full: a file system in memory, mounted where this test alone sees it.
//!
//! Mounts are made in a mount namespace of the test's own: they go with its last process, however that ends. The thread that
//! enters it, and what is started by it from then on, lives there: enter before the herd is built.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

/// Gives the calling thread mounts of its own. Needs what [`crate::require::Need::Networks`] needs.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: the thread gets a working directory and mounts of its own; no file descriptor is touched.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS)? };
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// A small disk.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many bytes over a directory, with the directory's owner and mode.
    pub fn mount(at: &Path, bytes: u64) -> io::Result<SmallDisk> {
        let owner = fs::metadata(at)?;
        let options = format!("size={bytes},mode=0700,uid={},gid={}", owner.uid(), owner.gid());
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at))?;
        Ok(SmallDisk { at: at.to_owned() })
    }

    /// Makes it so large, as one who buys a larger disk.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,size={bytes}")]).arg(&self.at))
    }

    /// Bytes that can still be written.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.at)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let out = command.output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require::{Need, can};

    #[test]
    fn a_small_disk_is_full_until_it_is_made_larger() {
        if !can(&[Need::Networks]) {
            return;
        }
        own_mounts().expect("mounts of our own");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = SmallDisk::mount(dir.path(), 1 << 20).expect("mounted");
        let file = dir.path().join("file");
        let error = fs::write(&file, vec![1; 2 << 20]).expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.resize(8 << 20).expect("made larger");
        assert!(disk.free().expect("a number") > 4 << 20);
        fs::write(&file, vec![1; 2 << 20]).expect("room enough");
    }
}
