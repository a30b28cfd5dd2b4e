//! In a directory.

use std::fs;
use std::process::Command;

use jogi_archive::check::check;
use jogi_archive::storage::Fault;
use jogi_archive::wal::{Fetched, Prefetched, Pushed, WalError, fetch, prefetch, push};

use crate::{Place, read, segment};

const FIVE: &str = "000000010000000000000005";
const KEY: &str = "30313233343536373839303132333435363738393031323334353637383930ff";

const SODIUM: [(&str, &str); 2] = [("WALG_LIBSODIUM_KEY", KEY), ("WALG_LIBSODIUM_KEY_TRANSFORM", "hex")];

#[tokio::test]
async fn files_come_back_from_every_form() {
    for method in ["lz4", "zstd", "lzma", "brotli", "none"] {
        for encrypted in [false, true] {
            let place = Place::new();
            let mut settings = vec![("WALG_COMPRESSION_METHOD", method)];
            settings.extend(SODIUM.iter().filter(|_| encrypted));
            let archive = place.archive(&settings);
            for (name, content) in [
                (FIVE, segment(5, 1)),
                ("000000010000000000000006.partial", segment(6, 1)),
                ("00000002.history", b"1\t0/5000000\tno recovery target specified\n".to_vec()),
                ("000000010000000000000005.00000028.backup", b"START WAL LOCATION: 0/500028\n".to_vec()),
            ] {
                let path = place.file(name, &content);
                assert!(matches!(push(&archive, &path).await.expect(name), Pushed::Stored { .. }), "{name}");
                let back = place.path("RECOVERYXLOG");
                assert_eq!(fetch(&archive, name, &back, None).await.expect(name), Fetched::Stored);
                assert!(read(&back) == content, "{name} {method} encrypted: {encrypted}");
                fs::remove_file(back).expect("removed");
            }
        }
    }
}

/// `tests/objects/walg_reader.py` follows the description of the layout and shares no code with us.
#[tokio::test]
async fn another_reader_understands_our_objects() {
    if !jogi_testkit::require::can(&[jogi_testkit::require::Need::Program("python3")]) {
        return;
    }
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/objects/walg_reader.py");
    let history: Vec<u8> = (0..1000).flat_map(|n| format!("{n}\t0/5000000\treason\n").into_bytes()).collect();
    for (method, extension) in [("lz4", ".lz4"), ("lzma", ".lzma"), ("none", "")] {
        for (name, content, encrypted) in [
            (FIVE, segment(5, 1), false),
            ("00000003.history", history.clone(), false),
            ("00000003.history", history.clone(), true),
            // A multiple of encryption's chunk: it ends with an empty one.
            ("00000004.history", vec![b'#'; 16_384], true),
        ] {
            let place = Place::new();
            let mut settings = vec![("WALG_COMPRESSION_METHOD", method)];
            settings.extend(SODIUM.iter().filter(|_| encrypted));
            push(&place.archive(&settings), &place.file(name, &content)).await.expect("archived");
            let mut python = Command::new("python3");
            python.arg(reader).arg(place.object(&format!("{name}{extension}")));
            let output = python.args(encrypted.then_some(KEY)).output().expect("python runs");
            assert!(output.status.success(), "{name} {method}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout == content, "{name} {method} encrypted: {encrypted}");
        }
    }
}

#[tokio::test]
async fn what_is_archived_is_not_replaced() {
    let place = Place::new();
    let archive = place.archive(&[]);
    let path = place.file(FIVE, &segment(5, 1));
    push(&archive, &path).await.expect("archived");
    let object = read(&place.object(&format!("{FIVE}.lz4")));
    assert_eq!(push(&archive, &path).await.expect("the same again"), Pushed::WasThere);

    // Also found when the method has changed since.
    for settings in [&[][..], &[("WALG_COMPRESSION_METHOD", "zstd")]] {
        let other = place.archive(settings);
        place.file(FIVE, &segment(5, 2));
        let error = push(&other, &path).await.expect_err("other content");
        assert!(matches!(error, WalError::Different { .. }), "{error}");
        assert!(error.to_string().contains(FIVE), "{error}");
    }
    assert!(read(&place.object(&format!("{FIVE}.lz4"))) == object);

    let wished = place.archive(&[("WALG_PREVENT_WAL_OVERWRITE", "false")]);
    assert!(matches!(push(&wished, &path).await.expect("replaced"), Pushed::Stored { .. }));
    let history = place.file("00000002.history", b"1\t0/5000000\tone\n");
    push(&wished, &history).await.expect("archived");
    fs::write(&history, "1\t0/6000000\tanother\n").expect("written");
    assert!(push(&wished, &history).await.is_err(), "a history is never replaced");
}

#[tokio::test]
async fn what_is_no_segment_is_not_archived() {
    let place = Place::new();
    let archive = place.archive(&[]);
    for (name, content) in [
        (FIVE, b"nonsense".to_vec()),
        (FIVE, segment(5, 1)[..1000].to_vec()),
        (FIVE, segment(6, 1)),
        (FIVE, vec![0; 1 << 20]),
        ("backup_label", b"x".to_vec()),
        ("00000002.history", Vec::new()),
    ] {
        let error = push(&archive, &place.file(name, &content)).await.expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(!place.path("archive/wal_005").exists(), "nothing was stored");
}

#[tokio::test]
async fn absent_damaged_and_unreachable_are_told_apart() {
    let place = Place::new();
    let archive = place.archive(&[]);
    let to = place.path("RECOVERYXLOG");
    // An empty directory: what an unmounted share leaves.
    match fetch(&archive, FIVE, &to, None).await {
        Err(WalError::Storage(error)) => assert_eq!(error.fault, Fault::Bucket, "{error}"),
        other => panic!("{other:?}"),
    }
    fs::create_dir(place.path("archive/wal_005")).expect("made");
    assert_eq!(fetch(&archive, FIVE, &to, None).await.expect("an answer"), Fetched::Absent);

    push(&archive, &place.file(FIVE, &segment(5, 1))).await.expect("archived");
    let object = place.object(&format!("{FIVE}.lz4"));
    let whole = read(&object);
    fs::write(&object, &whole[..whole.len() - 5]).expect("cut");
    let error = fetch(&archive, FIVE, &to, None).await.expect_err("damaged").to_string();
    assert!(error.contains(FIVE), "{error}");
    assert!(!to.exists());

    // A segment of another name, uncompressed and short: whole for the storage, but not for recovery.
    fs::remove_file(&object).expect("removed");
    fs::write(place.object(FIVE), &segment(5, 1)[..500_000]).expect("written");
    let error = fetch(&archive, FIVE, &to, None).await.expect_err("short").to_string();
    assert!(error.contains(FIVE) && error.contains("500000"), "{error}");
    assert!(!to.exists());

    fs::write(&to, "x").expect("written");
    let error = fetch(&archive, FIVE, &to, None).await.expect_err("in the way");
    assert!(matches!(error, WalError::DestinationExists(_)), "{error}");
    let left: Vec<_> = fs::read_dir(place.path("")).expect("there").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
}

/// Laid down by hand, as other versions of WAL-G and WAL-E left them.
#[tokio::test]
async fn objects_of_others_are_read() {
    let place = Place::new();
    let archive = place.archive(&[]);
    fs::create_dir(place.path("archive/wal_005")).expect("made");
    let history = "00000002.history";
    let content = b"1\t0/5000000\tx\n";
    let stored_lz4 = {
        let mut frame = vec![0x04, 0x22, 0x4D, 0x18, 0x64, 0x70, 0xB9, content.len() as u8, 0, 0, 0x80];
        frame.extend_from_slice(content);
        frame.extend([0; 4]);
        frame.extend(0x17D6_8E4E_u32.to_le_bytes());
        frame
    };
    for (extension, bytes) in [("", content.to_vec()), (".", content.to_vec())] {
        let object = place.object(&format!("{history}{extension}"));
        fs::write(&object, bytes).expect("written");
        let to = place.path("back");
        assert_eq!(fetch(&archive, history, &to, None).await.expect("read"), Fetched::Stored, "{extension}");
        assert_eq!(read(&to), content);
        fs::remove_file(to).expect("removed");
        fs::remove_file(object).expect("removed");
    }
    // The checksum of the content is not that of this content.
    fs::write(place.object(&format!("{history}.lz4")), stored_lz4).expect("written");
    assert!(fetch(&archive, history, &place.path("back"), None).await.is_err());
}

#[tokio::test]
async fn segments_are_fetched_ahead_outside_of_pg_wal() {
    let place = Place::new();
    let archive = place.archive(&[("WALG_PG_WAL_SIZE", "1"), ("WALG_DOWNLOAD_CONCURRENCY", "4")]);
    let name = |n: u64| format!("0000000100000000{n:08X}");
    for n in 5..=10 {
        push(&archive, &place.file(&name(n), &segment(n, 1))).await.expect("archived");
    }
    let ahead = place.path("prefetch");
    assert_eq!(prefetch(&archive, &name(5), &ahead).await.expect("fetched"), Prefetched::Segments(3));
    let to = place.path("RECOVERYXLOG");
    assert_eq!(fetch(&archive, &name(6), &to, Some(&ahead)).await.expect("there"), Fetched::Ahead);
    assert!(read(&to) == segment(6, 1) && !ahead.join(name(6)).exists());

    // What is there and not whole is fetched again.
    fs::remove_file(&to).expect("removed");
    fs::write(ahead.join(name(7)), &segment(7, 1)[..1000]).expect("written");
    assert_eq!(fetch(&archive, &name(7), &to, Some(&ahead)).await.expect("fetched"), Fetched::Stored);
    assert!(read(&to) == segment(7, 1));

    // Older ones go.
    assert_eq!(prefetch(&archive, &name(8), &ahead).await.expect("fetched"), Prefetched::Segments(2));
    let mut left: Vec<_> = fs::read_dir(&ahead).expect("there").flatten().map(|e| e.file_name()).collect();
    left.sort();
    assert_eq!(left, [name(9), name(10), "lock".into(), "running".into()].map(std::ffi::OsString::from));
}

#[tokio::test]
async fn a_check_leaves_nothing_and_says_what_fails() {
    let place = Place::new();
    let report = check(&place.archive(&SODIUM)).await;
    assert!(report.ok, "{report:?}");
    assert_eq!(report.steps.iter().map(|s| s.name).collect::<Vec<_>>(), ["write", "list", "read", "delete"]);
    let left = fs::read_dir(place.path("archive/jogi_check")).expect("there").count();
    assert_eq!(left, 0);

    let archive = place.archive(&[]);
    fs::remove_dir_all(place.path("archive")).expect("removed");
    fs::write(place.path("archive"), "a file where the directory was").expect("written");
    let report = check(&archive).await;
    assert!(!report.ok);
    assert_eq!(report.steps.len(), 1);
    assert!(report.steps[0].error.is_some() && report.steps[0].remedy.is_some(), "{report:?}");
}
