//! Files into a storage and back: what lies there is what WAL-G lays there, and nothing there is ever half or replaced.

mod directory;
mod s3;

use std::fs;
use std::path::{Path, PathBuf};

use jogi_archive::settings::{Settings, Variables};
use jogi_archive::wal::Archive;
use tempfile::TempDir;

/// A place for an archive and for files.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary directory"));
        fs::create_dir(place.path("archive")).expect("made");
        fs::create_dir(place.path("pg_wal")).expect("made");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The directory's archive with these settings besides.
    fn archive(&self, settings: &[(&str, &str)]) -> Archive {
        let dir = self.path("archive");
        let mut all = vec![("WALG_FILE_PREFIX", dir.to_str().expect("text"))];
        all.extend(settings);
        open(&all)
    }

    /// A file to archive.
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path("pg_wal").join(name);
        fs::write(&path, content).expect("written");
        path
    }

    fn object(&self, name: &str) -> PathBuf {
        self.path("archive/wal_005").join(name)
    }
}

fn open(settings: &[(&str, &str)]) -> Archive {
    let owned = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    Archive::open(Settings::read(&Variables::new(owned)).expect("settings")).expect("a storage")
}

/// A segment of 1 MiB: its first header is a real one, and it compresses about as WAL does.
fn segment(number: u64, seed: u8) -> Vec<u8> {
    const SIZE: u32 = 1 << 20;
    let mut content = vec![0_u8; SIZE as usize];
    for (at, byte) in content.iter_mut().enumerate().take(700_000).skip(40) {
        *byte = if at % 5 == 0 { (at / 7) as u8 ^ seed } else { (at >> 12) as u8 };
    }
    content[..2].copy_from_slice(&0xD110_u16.to_le_bytes());
    content[2..4].copy_from_slice(&2_u16.to_le_bytes());
    content[4..8].copy_from_slice(&1_u32.to_le_bytes());
    content[8..16].copy_from_slice(&(number * u64::from(SIZE)).to_le_bytes());
    content[24..32].copy_from_slice(&7_123_456_789_u64.to_le_bytes());
    content[32..36].copy_from_slice(&SIZE.to_le_bytes());
    content[36..40].copy_from_slice(&8192_u32.to_le_bytes());
    content
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
