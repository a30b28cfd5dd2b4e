//! Write-ahead log, read by us and by pg_waldump.

use std::time::Duration;

use jogi_core::Lsn;
use jogi_core::ha::Mode;
use jogi_pg::control::{read, read_file};
use jogi_pg::wal::{self, Reader, Record};
use serde_json::json;

use crate::common::{LONG, Member, Place, can};

/// LSN, previous LSN and length of each record from `start`, and where pg_waldump saw the end.
fn by_waldump(member: &Member, start: Lsn) -> (Vec<(Lsn, Lsn, u32)>, Lsn) {
    let wal = member.data_dir().join("pg_wal");
    let (out, err) = member.tool("pg_waldump", &["-p", &wal.to_string_lossy(), "-s", &start.to_string()]);
    let record = |line: &str| {
        let after = |key: &str| Some(line.split_once(key)?.1.trim_start());
        let word = |text: &str| text.split([',', ' ']).next().unwrap_or_default().to_owned();
        let total = after("len (rec/tot):")?.split_once('/')?.1.trim_start();
        let total = total.split(',').next()?.trim().parse().ok()?;
        Some((word(after("lsn: ")?).parse().ok()?, word(after("prev ")?).parse().ok()?, total))
    };
    // "pg_waldump: error: error in WAL record at X: invalid record length at Y: wanted 24, got 0"; from 16 on
    // "expected at least 24, got 0".
    let position = |text: &str| text.split([':', ',', ' ', '\n']).next()?.parse().ok();
    let end = err.split(" at ").skip(1).filter_map(position).last();
    (out.lines().filter_map(record).collect(), end.unwrap_or_else(|| panic!("no end: {err}")))
}

fn by_us(member: &Member, start: Lsn) -> Vec<Record> {
    let file = read_file(&member.data_dir(), None).expect("control");
    let mut reader = Reader::open(&member.data_dir(), &file);
    let mut records = vec![reader.read(start).expect("the first")];
    while let Ok(record) = reader.read_next() {
        records.push(record);
    }
    records
}

fn compare(member: &Member, start: Lsn) -> Vec<Record> {
    let (theirs, end) = by_waldump(member, start);
    let ours = by_us(member, start);
    let short: Vec<_> = ours.iter().map(|record| (record.at, record.prev, record.length)).collect();
    assert_eq!(short.len(), theirs.len());
    assert_eq!(short, theirs);
    assert_eq!(ours.last().expect("some").end, end);
    ours
}

#[tokio::test]
async fn a_crashed_servers_log_is_walked_to_its_end() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    member.sql("CREATE TABLE t (n int, text text); CHECKPOINT").await;
    // Records of all sizes, across pages and segments: large ones, many small ones, a switch.
    member.sql("ALTER TABLE t ALTER text SET STORAGE EXTERNAL").await;
    member.sql("INSERT INTO t SELECT n, repeat(md5(n::text), n % 300) FROM generate_series(1, 6000) n").await;
    member.sql("SELECT pg_switch_wal()").await;
    member.sql("SELECT pg_logical_emit_message(false, 'x', repeat('y', 3000000))").await;
    member.sql("INSERT INTO t SELECT n, 'small' FROM generate_series(1, 3000) n").await;
    let flushed: Lsn = member.value("SELECT pg_current_wal_flush_lsn()").await.parse().expect("a position");
    member.crash();

    let file = read_file(&member.data_dir(), None).expect("control");
    let records = compare(&member, file.checkpoint);
    assert!(records.iter().any(Record::is_switch));
    assert!(records.iter().any(|record| record.length > 3_000_000), "a record over hundreds of pages");
    let pages = records.iter().filter(|r| r.at.0 / 8192 != (r.end.0 - 1) / 8192).count();
    assert!(pages > 100, "records cross pages");
    let segments = (records[0].at.0 >> 24, records[records.len() - 1].at.0 >> 24);
    assert!(segments.1 > segments.0 + 1, "several segments: {segments:?}");

    let end = wal::find_end(&member.data_dir(), LONG).expect("found");
    assert!(end.complete && end.end >= flushed, "{end:?} {flushed}");
    assert_eq!(end.end, records.last().expect("some").end);
    let early = wal::find_end(&member.data_dir(), Duration::ZERO).expect("found");
    assert!(!early.complete && early.end < end.end && early.end > file.checkpoint);

    // What is found is what recovery finds.
    let setup = member.setup(Mode::Primary);
    member.start(&setup).await;
    let log = member.log();
    let redo = log.lines().rev().find(|line| line.contains("redo done at")).expect("recovery ran");
    let last = records.last().expect("some").at;
    assert!(redo.contains(&format!("redo done at {last}")), "{redo}, ours {last}");
}

#[tokio::test]
async fn a_torn_end_is_the_end() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    member.sql("CREATE TABLE t (n int); CHECKPOINT; INSERT INTO t SELECT generate_series(1, 1000)").await;
    member.crash();
    let file = read_file(&member.data_dir(), None).expect("control");
    let records = by_us(&member, file.checkpoint);
    let torn = records[records.len() / 2];
    let name = wal::segment_name(file.timeline, torn.at, u64::from(file.wal_segment_size));
    let path = member.data_dir().join("pg_wal").join(name);
    let mut bytes = std::fs::read(&path).expect("readable");
    let at = usize::try_from(torn.at.0 % u64::from(file.wal_segment_size)).expect("fits") + 24;
    bytes[at] ^= 0x40;
    std::fs::write(&path, bytes).expect("ours");
    let end = wal::find_end(&member.data_dir(), LONG).expect("found");
    assert_eq!(end.end, records[records.len() / 2 - 1].end);
}

#[tokio::test]
async fn the_position_after_a_clean_shutdown_is_that_before_a_switch() {
    if !can() {
        return;
    }
    let place = Place::new();
    let mut member = place.member("a");
    member.bootstrap().await;
    member.stop();
    let control = read(&member.data_dir(), None).expect("control");
    let records = by_us(&member, control.checkpoint);
    assert_eq!(records.len(), 1);
    assert!(records[0].is_shutdown_checkpoint());
    assert_eq!(control.shutdown_end, Some(records[0].end));
    assert_eq!(control.shutdown_optime, Some(control.checkpoint));

    // With archiving on, a shutdown switches to a new segment first.
    let parameters = json!({"postgresql": {"parameters": {"archive_mode": "on", "archive_command": "true"}}});
    member.set_dynamic(parameters);
    let setup = member.setup(Mode::Primary);
    member.start(&setup).await;
    member.sql("CREATE TABLE t (n int)").await;
    member.stop();
    let control = read(&member.data_dir(), None).expect("control");
    let records = by_us(&member, control.checkpoint);
    assert_ne!(control.shutdown_optime, Some(control.checkpoint));
    assert_eq!(control.shutdown_optime, Some(records[0].prev));
    assert_eq!(by_waldump(&member, control.checkpoint).1, control.shutdown_end.expect("known"));
}
