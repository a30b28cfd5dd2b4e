//! Over S3's protocol, against a server on loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jogi_archive::check::check;
use jogi_archive::storage::Fault;
use jogi_archive::wal::{Archive, Fetched, Pushed, WalError, fetch, push};
use jogi_testkit::{http, require, wait};

use crate::{Place, open, read, segment};

const UP_WITHIN: Duration = Duration::from_secs(100);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const FIVE: &str = "000000010000000000000005";

/// moto's server. Ended with the test.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// `None` where it cannot be had; the list of tests that did not run says why.
    fn start() -> Option<Server> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/moto.sh");
        let found = Command::new(script).output().expect("the script runs");
        if !found.status.success() {
            require::did_not_run(String::from_utf8_lossy(&found.stderr).trim());
            return None;
        }
        let program = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &free.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server { process: command.spawn().expect("moto starts"), address: free };
        wait::until("S3's server", UP_WITHIN, || {
            http::request(free, "PUT", "/bucket", None, ANSWER_WITHIN).status == 200
        });
        Some(server)
    }

    fn archive(&self, prefix: &str) -> Archive {
        archive_at(self.address, prefix)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn archive_at(address: SocketAddr, prefix: &str) -> Archive {
    open(&[
        ("WALG_S3_PREFIX", prefix),
        ("AWS_ENDPOINT", &format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
        ("AWS_SECRET_ACCESS_KEY", "SKTEST"),
        ("WALG_S3_SSE", "AES256"),
    ])
}

#[tokio::test]
async fn wal_goes_to_s3_and_back() {
    let Some(server) = Server::start() else { return };
    let place = Place::new();
    let archive = server.archive("s3://bucket/spilo/herd/wal/15/");
    let report = check(&archive).await;
    assert!(report.ok, "{report:?}");

    let path = place.file(FIVE, &segment(5, 1));
    let to = place.path("RECOVERYXLOG");
    assert_eq!(fetch(&archive, FIVE, &to, None).await.expect("an answer"), Fetched::Absent);
    assert!(matches!(push(&archive, &path).await.expect("archived"), Pushed::Stored { .. }));
    assert_eq!(push(&archive, &path).await.expect("again"), Pushed::WasThere);
    fs::write(&path, segment(5, 2)).expect("written");
    assert!(matches!(push(&archive, &path).await, Err(WalError::Different { .. })));
    assert_eq!(fetch(&archive, FIVE, &to, None).await.expect("fetched"), Fetched::Stored);
    assert!(read(&to) == segment(5, 1));

    let objects = archive.storage.list("wal_005").await.expect("listed");
    let keys: Vec<&str> = objects.iter().map(|o| o.key.as_str()).collect();
    assert_eq!(keys, [format!("wal_005/{FIVE}.lz4")]);
    let whole_bucket = server.archive("s3://bucket").storage.list("spilo/herd/wal/15/wal_005").await.expect("listed");
    assert_eq!(whole_bucket.len(), 1, "below its prefix: {whole_bucket:?}");

    more_than_one_part(&server, &place).await;
    without_its_bucket_nothing_is_absent(&server, &place).await;
}

/// A segment of 32 MiB that does not compress takes several parts of an upload.
async fn more_than_one_part(server: &Server, place: &Place) {
    const SIZE: usize = 32 << 20;
    let mut content = segment(0, 1);
    let mut state = 7_u64;
    content.resize_with(SIZE, || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    content[32..36].copy_from_slice(&(SIZE as u32).to_le_bytes());
    let name = "000000010000000000000000";
    let archive = server.archive("s3://bucket/large");
    push(&archive, &place.file(name, &content)).await.expect("archived");
    let to = place.path("LARGE");
    fetch(&archive, name, &to, None).await.expect("fetched");
    assert!(read(&to) == content);
}

/// The hazard: both are answered by 404, and "absent" ends a recovery.
async fn without_its_bucket_nothing_is_absent(server: &Server, place: &Place) {
    let archive = server.archive("s3://elsewhere/path");
    match fetch(&archive, FIVE, &place.path("NONE"), None).await {
        Err(WalError::Storage(error)) => assert_eq!(error.fault, Fault::Bucket, "{error}"),
        other => panic!("{other:?}"),
    }
    let report = check(&archive).await;
    assert!(!report.ok && report.steps[0].remedy == Some(Fault::Bucket.remedy()), "{report:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_with_a_remedy() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port");
    let archive = archive_at(nobody, "s3://bucket/path");
    let error = archive.storage.list("wal_005").await.expect_err("nobody listens");
    assert_eq!(error.fault, Fault::Network, "{error}");
    let said = error.to_string();
    assert!(said.contains("s3://bucket/path") && !said.contains("SKTEST"), "{said}");
}
