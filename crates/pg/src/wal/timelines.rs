//! Numbers of timelines that are taken.
//!
//! The hazard: PostgreSQL gives a promoted server the next number for which it knows no history file. A member
//! that never saw timeline 2 opens a timeline 2 of its own, and WAL of two branches carries one number.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use jogi_core::Timeline;

/// What the made files hold. Lines that begin with `#` are skipped by PostgreSQL's reader (timeline.c), so the file
/// names no parent: no standby takes it for a branch of its own.
const PLACEHOLDER: &str = "# taken: opened by another member of the cluster, whose history was not seen here\n";

/// Makes a history file for each number above `above` up to `up_to` that has none, durably.
pub fn reserve_timelines(data_dir: &Path, above: Timeline, up_to: Timeline) -> std::io::Result<()> {
    let wal = data_dir.join("pg_wal");
    for number in above.0.saturating_add(1)..=up_to.0 {
        let path = wal.join(format!("{number:08X}.history"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(PLACEHOLDER.as_bytes())?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    File::open(&wal)?.sync_all()
}

/// Takes marks away that no promotion has used: a server that starts as a standby would otherwise take the marked
/// number for the newest timeline and refuse to start ("not a child of this server's history"), and one that
/// runs would not fetch the real history. A mark below a real history file is history itself and stays.
pub fn forget_reserved(data_dir: &Path) -> std::io::Result<()> {
    let wal = data_dir.join("pg_wal");
    let mut marked = Vec::new();
    let mut newest_real = 0;
    for entry in std::fs::read_dir(&wal)? {
        let path = entry?.path();
        let Some(number) = history_number(&path) else { continue };
        if std::fs::read(&path)? == PLACEHOLDER.as_bytes() {
            marked.push((number, path));
        } else {
            newest_real = newest_real.max(number);
        }
    }
    for (_, path) in marked.into_iter().filter(|(number, _)| *number > newest_real) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn history_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    u32::from_str_radix(name.strip_suffix(".history")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_numbers_get_a_file_and_known_ones_keep_theirs() {
        let dir = std::env::temp_dir().join(format!("jogi-timelines-{}", std::process::id()));
        let wal = dir.join("pg_wal");
        std::fs::create_dir_all(&wal).expect("a folder");
        std::fs::write(wal.join("00000003.history"), "1\t0/100\tx\n").expect("written");
        reserve_timelines(&dir, Timeline(1), Timeline(4)).expect("made");
        let text = |number: u32| std::fs::read_to_string(wal.join(format!("{number:08X}.history"))).expect("there");
        assert_eq!(text(2), PLACEHOLDER);
        assert_eq!(text(3), "1\t0/100\tx\n");
        assert!(jogi_core::History::parse(&text(4)).0.is_empty());
        assert!(!wal.join("00000005.history").exists());
        forget_reserved(&dir).expect("forgotten");
        assert!(wal.join("00000002.history").exists(), "below a real one");
        assert!(!wal.join("00000004.history").exists());
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
