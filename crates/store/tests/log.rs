//! The log on a disk that was cut off at any byte, or that changed what it was given.

use std::fs;
use std::path::{Path, PathBuf};

use jogi_store::log::{Entry, Log, LogError};

fn entry(index: u64, bytes: usize) -> Entry {
    Entry { index, term: 3, data: vec![index as u8 | 1; bytes] }
}

/// Three writes: one entry, two together, one longer than a sector.
fn written(dir: &Path) -> (Vec<Vec<Entry>>, PathBuf) {
    let writes = vec![vec![entry(1, 40)], vec![entry(2, 10), entry(3, 0)], vec![entry(4, 700)]];
    let (mut log, old) = Log::open(dir, 0).expect("an empty log");
    assert!(old.is_empty());
    writes.iter().for_each(|entries| log.append(entries).expect("appended"));
    let file = fs::read_dir(dir).expect("a directory").next().expect("a file").expect("a file").path();
    (writes, file)
}

fn reopened(dir: &Path) -> Result<Vec<Entry>, LogError> {
    Log::open(dir, 0).map(|(_, entries)| entries)
}

#[test]
fn what_was_appended_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (writes, _) = written(dir.path());
    assert_eq!(reopened(dir.path()).expect("whole"), writes.concat());
    assert_eq!(Log::open(dir.path(), 2).expect("whole").1, writes.concat()[2..]);
}

#[test]
fn a_log_cut_at_any_byte_keeps_what_was_whole_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (writes, file) = written(dir.path());
    let whole = fs::read(&file).expect("the file");
    let mut ends = vec![8];
    for write in &writes {
        let body: usize = write.iter().map(prost::Message::encoded_len).map(|n| n + 1 + varint(n)).sum();
        ends.push(ends.last().expect("one") + 16 + body);
    }
    assert_eq!(ends.last(), Some(&whole.len()));
    for cut in 0..whole.len() {
        fs::write(&file, &whole[..cut]).expect("cut");
        let complete = ends[1..].iter().filter(|end| **end <= cut).count();
        let (mut log, entries) = Log::open(dir.path(), 0).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        assert_eq!(entries, writes[..complete].concat(), "cut at {cut}");
        let next = entry(log.next_index(), 5);
        log.append(std::slice::from_ref(&next)).expect("appended");
        drop(log);
        assert_eq!(reopened(dir.path()).expect("whole").last(), Some(&next), "cut at {cut}");
    }
}

fn varint(n: usize) -> usize {
    if n < 128 { 1 } else { 2 }
}

/// A power cut may leave the file's length and not its content.
#[test]
fn a_last_write_whose_sectors_never_came_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let (writes, file) = written(dir.path());
    let mut torn = fs::read(&file).expect("the file");
    let end = torn.len();
    torn[512..end].fill(0);
    fs::write(&file, &torn).expect("torn");
    assert_eq!(reopened(dir.path()).expect("torn"), writes[..2].concat());
}

#[test]
fn a_changed_byte_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (writes, file) = written(dir.path());
    let whole = fs::read(&file).expect("the file");
    let second = 8 + 16 + prost::Message::encoded_len(&writes[0][0]) + 2;
    for at in second..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x11;
        fs::write(&file, &damaged).expect("damaged");
        match reopened(dir.path()) {
            Err(LogError::Damaged { path, offset, .. }) => {
                assert_eq!(path, file);
                assert!(offset as usize <= at, "byte {at}, said {offset}");
            }
            // The length of the last write, made longer, cannot be told from one that ends early.
            Ok(entries) => {
                let last = whole.len() - (16 + prost::Message::encoded_len(&writes[2][0]) + 3);
                assert!((last..last + 4).contains(&at) && entries == writes[..2].concat(), "byte {at}");
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
        assert!(matches!(fs::read(&file), Ok(now) if now.len() <= whole.len()));
    }
}

#[test]
fn a_missing_file_in_the_middle_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, _) = Log::open(dir.path(), 0).expect("an empty log");
    for index in 1..=3 {
        log.append(&[entry(index, 10)]).expect("appended");
        log.begin_segment().expect("a file");
    }
    drop(log);
    fs::remove_file(dir.path().join(format!("{:016x}.log", 2))).expect("removed");
    assert!(matches!(reopened(dir.path()), Err(LogError::Damaged { .. })));
}

/// As a full disk and a crash leave it.
#[test]
fn a_file_that_was_never_begun_is_passed_over_and_a_lost_one_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, _) = Log::open(dir.path(), 0).expect("an empty log");
    for index in 1..=3 {
        log.append(&[entry(index, 10)]).expect("appended");
        log.begin_segment().expect("a file");
    }
    log.append(&[entry(4, 10)]).expect("appended");
    log.append(&[entry(5, 10)]).expect("appended");
    log.begin_segment().expect("a file");
    drop(log);
    let file = |first: u64| dir.path().join(format!("{first:016x}.log"));
    fs::write(file(5), b"").expect("an empty file");
    assert_eq!(reopened(dir.path()).expect("whole").len(), 5);
    assert!(!file(5).exists());
    fs::write(file(2), b"JOG").expect("a file that lost its content");
    assert!(matches!(reopened(dir.path()), Err(LogError::Damaged { .. })));
}

#[test]
fn files_before_a_snapshot_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, _) = Log::open(dir.path(), 0).expect("an empty log");
    for index in 1..=3 {
        log.append(&[entry(index, 10)]).expect("appended");
        log.begin_segment().expect("a file");
    }
    log.forget(2).expect("removed");
    drop(log);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2);
    let (log, entries) = Log::open(dir.path(), 2).expect("whole");
    assert_eq!((entries, log.next_index()), (vec![entry(3, 10)], 4));
}
