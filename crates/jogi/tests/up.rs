//! "I type one command and have a cluster": `jogi up` from its first line to its end, and the mistakes that one makes with it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use jogi_testkit::herd::{CHANGE_WITHIN, START_WITHIN};
use jogi_testkit::process::{self, Signal};
use jogi_testkit::sql::{self, Login, Session};
use jogi_testkit::{http, wait};
use tempfile::TempDir;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A place for a herd, which PostgreSQL's user may enter, and ports for it.
struct Place {
    dir: TempDir,
    port: u16,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("jogi-test-").tempdir_in("/tmp").expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
        // Below the kernel's range for outgoing connections. A base is good when all of its ports are free now.
        let begin = 10_000 + u16::try_from(std::process::id() % 100).expect("small") * 100;
        let mut bases = (begin..30_000).step_by(100);
        let free = |port: &u16| (*port..port + 100).all(|p| TcpListener::bind((Ipv4Addr::LOCALHOST, p)).is_ok());
        let port = bases.find(free).expect("a hundred free ports in a row");
        Place { dir, port }
    }

    fn herd(&self) -> PathBuf {
        self.dir.path().join("herd")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("up.log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// `jogi up` with two members here.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jogi"));
        command.args(["up", "--members", "2", "--port", &self.port.to_string(), "--dir"]).arg(self.herd());
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    /// Starts it and waits until it says that all is up.
    #[track_caller]
    fn up(&self) -> Up<'_> {
        let log = fs::File::create(self.log()).expect("a log");
        let child = self.command().stdout(log.try_clone().expect("a copy")).stderr(log).spawn().expect("jogi starts");
        let mut up = Up { place: self, child };
        wait::until("the herd is up", START_WITHIN, || {
            assert!(up.child.try_wait().expect("a child").is_none(), "it ended and said:\n{}", self.said());
            self.said().contains("Ctrl-C stops everything")
        });
        up
    }

    /// What it says when it refuses.
    #[track_caller]
    fn refused(&self, command: &mut Command) -> String {
        let out = command.output().expect("jogi runs");
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    }

    /// Everything of the herd that runs: the store works in the herd's folder, agents and servers below it.
    fn processes(&self) -> Vec<i32> {
        process::working_below(&self.herd())
    }

    fn sql(&self, member: u16, sql: &str) -> Vec<Vec<Option<String>>> {
        let pgpass = fs::read_to_string(self.herd().join("pgpass")).expect("the password file");
        let password = pgpass.trim().rsplit(':').next().expect("a password").to_owned();
        let login = Login { user: "postgres".to_owned(), password, application: "jogi test".to_owned() };
        let door = sql::tcp(Ipv4Addr::LOCALHOST, self.port + member - 1);
        let session = Session::open(&door, &login, ANSWER_WITHIN).unwrap_or_else(|e| panic!("member-{member}: {e}"));
        session.run(sql, ANSWER_WITHIN).unwrap_or_else(|e| panic!("member-{member}: {sql}: {e}"))
    }

    fn primary(&self) -> u16 {
        let leads = |member: &u16| {
            let rest = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port + 50 + member - 1));
            http::request(rest, "GET", "/primary", None, ANSWER_WITHIN).status == 200
        };
        wait::value("a primary", CHANGE_WITHIN, || (1..=2).find(leads))
    }
}

/// A running `jogi up`.
struct Up<'p> {
    place: &'p Place,
    child: Child,
}

impl Up<'_> {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("process ids are small")
    }

    /// Asks for its end as a terminal or a person does.
    #[track_caller]
    fn end(mut self, signal: Signal) -> ExitStatus {
        assert!(process::send(self.pid(), signal));
        let status =
            wait::value("the herd's end", CHANGE_WITHIN, || self.child.try_wait().expect("a child can be asked"));
        assert_eq!(self.place.processes(), [0; 0], "nothing is left of the herd");
        status
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            process::send(self.pid(), Signal::TERM);
            if wait::poll(CHANGE_WITHIN, || self.child.try_wait().ok().flatten()).is_none() {
                process::kill_all(&self.place.processes());
                process::kill_all(&[self.pid()]);
            }
        }
        if std::thread::panicking() {
            eprintln!("jogi up said:\n{}", self.place.said());
        }
    }
}

fn possible() -> bool {
    common::spec_on_loopback().is_some_and(|spec| spec.promises("a herd on one machine"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o7777
}

/// The addresses that the herd's processes listen on, by the kernel's table.
fn listens_on(ports: std::ops::Range<u16>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let mut text = String::new();
        fs::File::open(table).and_then(|mut f| f.read_to_string(&mut text)).unwrap_or_else(|e| panic!("{table}: {e}"));
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let Some((address, port)) = fields.get(1).and_then(|local| local.split_once(':')) else { continue };
            let port = u16::from_str_radix(port, 16).expect("a port");
            if fields.get(3) == Some(&"0A") && ports.contains(&port) {
                found.insert(address.to_owned());
            }
        }
    }
    found
}

#[test]
fn a_herd_comes_up_with_one_command_and_resumes_with_its_data() {
    if !possible() {
        return;
    }
    let place = Place::new();
    let up = place.up();
    let said = place.said();
    let (port, herd) = (place.port, place.herd());
    for word in [
        format!("making a herd of 2 in {}", herd.display()),
        format!("psql 'host=127.0.0.1,127.0.0.1 port={port},{}", port + 1),
        "target_session_attrs=read-write".to_owned(),
        "read only".to_owned(),
        format!("member-1  http://127.0.0.1:{}", port + 50),
        format!("member-2  http://127.0.0.1:{}", port + 51),
        "+ Cluster: herd (".to_owned(),
        "| Leader  | running   |".to_owned(),
        "| Replica | streaming |".to_owned(),
    ] {
        assert!(said.contains(&word), "no {word:?} in:\n{said}");
    }
    for secret in ["passwords.json", "pgpass", "member-1/jogi.yml", "member-2/jogi.yml"] {
        assert_eq!(mode(&herd.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&herd), 0o700);
    assert!(herd.join("store/identity.json").exists(), "the store is jogi's own");
    let passwords = fs::read_to_string(herd.join("passwords.json")).expect("passwords");
    // 127.0.0.1 as the kernel writes it; a wildcard address would be all zeros.
    assert_eq!(listens_on(port..port + 100), BTreeSet::from(["0100007F".to_owned()]), "the loopback only");
    place.sql(place.primary(), "CREATE TABLE kept AS SELECT 7 AS x");

    // A second one for the same place is refused, whatever its ports, and the first goes on.
    let refusal = place.refused(&mut place.command());
    assert!(refusal.contains("if a herd runs already, end it first"), "{refusal}");
    let elsewhere = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jogi"));
    command.args(["up", "--port", &elsewhere.port.to_string(), "--dir"]).arg(&herd);
    let refusal = place.refused(&mut command);
    assert!(refusal.contains(&format!("a herd runs in {} already", herd.display())), "{refusal}");
    assert_eq!(place.sql(place.primary(), "SELECT x FROM kept"), [[Some("7".to_owned())]]);

    assert_eq!(up.end(Signal::INT).code(), Some(0), "Ctrl-C is a clean end");
    assert!(place.said().contains("stopping … "), "{}", place.said());
    for member in ["member-1", "member-2"] {
        assert!(!herd.join(member).join("data/postmaster.pid").exists(), "{member} was stopped in order");
    }

    let up = place.up();
    assert!(place.said().contains("resuming a herd of 2"), "{}", place.said());
    assert_eq!(fs::read_to_string(herd.join("passwords.json")).expect("passwords"), passwords);
    assert_eq!(place.sql(place.primary(), "SELECT x FROM kept"), [[Some("7".to_owned())]]);
    assert_eq!(up.end(Signal::HUP).code(), Some(0), "so is a terminal that is closed");
}

/// Killed, it cannot stop anything; its children are told by the kernel.
#[test]
fn nothing_outlives_a_killed_herd() {
    if !possible() {
        return;
    }
    let place = Place::new();
    let mut up = place.up();
    place.sql(place.primary(), "CREATE TABLE kept AS SELECT 7 AS x");
    assert!(!place.processes().is_empty());
    process::kill_all(&[up.pid()]);
    up.child.wait().expect("reaped");
    wait::until("everything of the herd ends", CHANGE_WITHIN, || place.processes().is_empty());
    let up = place.up();
    assert_eq!(place.sql(place.primary(), "SELECT x FROM kept"), [[Some("7".to_owned())]]);
    up.end(Signal::TERM);
}

#[test]
fn mistakes_are_refused_before_anything_is_touched() {
    if !possible() {
        return;
    }
    let place = Place::new();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, place.port + 50)).expect("free");
    let refusal = place.refused(&mut place.command());
    assert!(refusal.contains(&format!("port {} on 127.0.0.1 cannot be used", place.port + 50)), "{refusal}");
    assert!(refusal.contains("--port"), "{refusal}");
    drop(taken);

    let refusal = place.refused(place.command().args(["--pg-bin", "/nowhere"]));
    assert!(refusal.contains("/nowhere does not hold PostgreSQL's server programs"), "{refusal}");
    assert!(!place.herd().exists());

    fs::create_dir(place.herd()).expect("made");
    fs::write(place.herd().join("letter.txt"), "Dear Anna").expect("written");
    fs::set_permissions(place.herd(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let refusal = place.refused(&mut place.command());
    assert!(refusal.contains("is not empty and holds no herd"), "{refusal}");
    assert_eq!(mode(&place.herd()), 0o755);
    assert_eq!(fs::read_dir(place.herd()).expect("readable").count(), 1);
}
