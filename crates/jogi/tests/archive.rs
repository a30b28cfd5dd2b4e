//! "I archive my WAL and go back to a point in time": `archive_command` and `restore_command` on real servers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use jogi_testkit::require::{self, Need};
use jogi_testkit::sql::{self, Login, Session};
use jogi_testkit::wait;
use tempfile::TempDir;

const PORT: u16 = 5432;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const RECOVERED_WITHIN: Duration = Duration::from_secs(90);

/// Servers and their archive, in one directory that PostgreSQL's user owns.
struct Place {
    dir: TempDir,
    bin: PathBuf,
}

impl Place {
    fn new() -> Option<Place> {
        let needs = [Need::PostgreSql, Need::PostgresUser, Need::Program("setpriv")];
        if !require::can(&needs) {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("jogi-test-").tempdir_in("/tmp").expect("a temporary directory");
        // Those who run as PostgreSQL's user write here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("open to all");
        let place = Place { dir, bin: require::postgres_bin().expect("asked before") };
        for name in ["archive", "prefetch"] {
            place.succeeds(Command::new("mkdir").arg("-m").arg("777").arg(place.path(name)));
        }
        symlink(env!("CARGO_BIN_EXE_jogi"), place.path("wal-g")).expect("linked");
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a program as PostgreSQL's user, with the settings of the archive.
    fn run(&self, command: &Command) -> Output {
        let mut whole = require::as_server_user();
        whole.arg(command.get_program()).args(command.get_args()).current_dir("/").env("TZ", "UTC");
        whole.env("WALG_FILE_PREFIX", self.path("archive")).env("WALG_PG_WAL_SIZE", "1");
        whole.env("WALG_LIBSODIUM_KEY", "a key of at least twenty-five bytes").env("WALG_COMPRESSION_METHOD", "zstd");
        whole.env("WALG_PREFETCH_DIR", self.path("prefetch")).env("WALG_DOWNLOAD_CONCURRENCY", "4");
        whole.output().expect("the program runs")
    }

    fn succeeds(&self, command: &Command) -> String {
        let output = self.run(command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        said
    }

    fn program(&self, name: &str) -> Command {
        Command::new(self.bin.join(name))
    }
}

struct Server<'a> {
    place: &'a Place,
    data: PathBuf,
}

impl Server<'_> {
    fn new<'a>(place: &'a Place, name: &str) -> Server<'a> {
        Server { place, data: place.path(name) }
    }

    fn configure(&self, lines: &[String]) {
        let file = self.data.join("postgresql.auto.conf");
        let sockets = self.place.dir.path().display();
        let ours = format!(
            "listen_addresses = ''\nunix_socket_directories = '{sockets}'\nport = {PORT}\nfsync = off\n\
             shared_buffers = 16MB\nmin_wal_size = 4MB\nmax_wal_size = 16MB\n"
        );
        fs::write(file, ours + &lines.join("\n") + "\n").expect("written");
    }

    fn log(&self) -> PathBuf {
        self.place.path(&format!("{}.log", self.data.file_name().expect("a name").to_string_lossy()))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// `pg_ctl`'s own answer; it waits until the server takes sessions or ends.
    fn start(&self) -> Output {
        let mut command = self.place.program("pg_ctl");
        command.args(["start", "-w", "-t", "60", "-D"]).arg(&self.data).arg("-l").arg(self.log());
        self.place.run(&command)
    }

    fn session(&self) -> Session {
        let login = Login { user: "postgres".into(), password: String::new(), application: "test".into() };
        let door = sql::socket(self.place.dir.path(), PORT);
        Session::open(&door, &login, ANSWER_WITHIN).unwrap_or_else(|e| panic!("no session: {e}\n{}", self.said()))
    }

    fn value(&self, query: &str) -> String {
        let rows = self.session().run(query, ANSWER_WITHIN).unwrap_or_else(|e| panic!("{query}: {e}"));
        rows.last().and_then(|row| row[0].clone()).unwrap_or_default()
    }

    fn stop(&self) {
        let mut command = self.place.program("pg_ctl");
        command.args(["stop", "-w", "-m", "immediate", "-D"]).arg(&self.data);
        self.place.run(&command);
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            self.stop();
        }
    }
}

/// What recovery is told to stop at: a setting and its value.
type Targets = Vec<(&'static str, String)>;

#[test]
fn a_cluster_goes_back_to_any_point_of_its_archive() {
    let Some(place) = Place::new() else { return };
    let targets = archive_a_history(&place);
    only_names_that_belong_are_in_the_archive(&place);
    for (setting, value) in &targets {
        restores_exactly_up_to(&place, setting, value);
    }
    an_error_is_not_the_end_of_wal(&place, &targets[0].1);
}

/// Rows 1 to 1000, the targets, rows up to 2000. Leaves a base backup from before all of them in `base`.
fn archive_a_history(place: &Place) -> Targets {
    let server = Server::new(place, "origin");
    let mut initdb = place.program("initdb");
    initdb.args(["-A", "trust", "-U", "postgres", "-N", "--wal-segsize=1", "-D"]).arg(&server.data);
    place.succeeds(&initdb);
    let push = format!("archive_command = '{} archive wal-push \"%p\"'", env!("CARGO_BIN_EXE_jogi"));
    server.configure(&["archive_mode = on".into(), push]);
    let started = server.start();
    assert!(started.status.success(), "{}", server.said());

    let mut backup = place.program("pg_basebackup");
    backup.args(["-X", "none", "-c", "fast", "--no-sync", "-U", "postgres", "-p", &PORT.to_string(), "-h"]);
    backup.arg(place.dir.path()).arg("-D").arg(place.path("base"));
    place.succeeds(&backup);

    // Wide rows: the targets lie many segments behind the backup.
    let rows = |from: u32| {
        let to = from + 999;
        format!("INSERT INTO rows SELECT n, repeat(md5(n::text), 100) FROM generate_series({from}, {to}) n")
    };
    server.value(&format!(
        "CREATE TABLE rows (n int, filler text); ALTER TABLE rows ALTER filler SET STORAGE EXTERNAL; {}",
        rows(1)
    ));
    let lsn = server.value("SELECT pg_current_wal_insert_lsn()");
    let time = server.value("SELECT pg_sleep(0.05); SELECT clock_timestamp()");
    server.value("SELECT pg_sleep(0.05); SELECT pg_create_restore_point('here')");
    server.value(&rows(1001));
    let last = server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    server.value("SELECT pg_switch_wal()");
    let archived = format!("SELECT coalesce(last_archived_wal, '') >= '{last}' FROM pg_stat_archiver");
    wait::until("all WAL in the archive", RECOVERED_WITHIN, || server.value(&archived) == "t");
    assert_eq!(server.value("SELECT failed_count FROM pg_stat_archiver"), "0", "{}", server.said());
    vec![("recovery_target_name", "here".into()), ("recovery_target_lsn", lsn), ("recovery_target_time", time)]
}

fn only_names_that_belong_are_in_the_archive(place: &Place) {
    let names = fs::read_dir(place.path("archive/wal_005")).expect("there").flatten().map(|e| e.file_name());
    let names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    assert!(names.len() > 5 && names.iter().all(|n| n.ends_with(".zst") && !n.contains(".tmp.")), "{names:?}");
    assert!(names.iter().any(|n| n.ends_with(".backup.zst")), "{names:?}");
}

fn recovering<'a>(place: &'a Place, name: &str, settings: &[String]) -> Server<'a> {
    let server = Server::new(place, name);
    place.succeeds(Command::new("cp").arg("-a").arg(place.path("base")).arg(&server.data));
    place.succeeds(Command::new("touch").arg(server.data.join("recovery.signal")));
    let fetch = format!("restore_command = '{} wal-fetch \"%f\" \"%p\"'", place.path("wal-g").display());
    let mut lines = vec!["archive_mode = off".into(), "recovery_target_action = promote".into(), fetch];
    lines.extend_from_slice(settings);
    server.configure(&lines);
    server
}

fn restores_exactly_up_to(place: &Place, setting: &str, value: &str) {
    let server = recovering(place, setting, &[format!("{setting} = '{value}'")]);
    let started = server.start();
    assert!(started.status.success(), "{setting}: {}", server.said());
    wait::until("the end of recovery", RECOVERED_WITHIN, || server.value("SELECT pg_is_in_recovery()") == "f");
    let found = server.value("SELECT count(*) || ' ' || min(n) || ' ' || max(n) FROM rows");
    assert_eq!(found, "1000 1 1000", "{setting}: {}", server.said());
    assert_eq!(server.value("SELECT count(*) FROM rows WHERE filler <> repeat(md5(n::text), 100)"), "0");
    let strange = fs::read_dir(server.data.join("pg_wal")).expect("there").flatten().map(|e| e.file_name());
    let strange: Vec<_> = strange.filter(|n| n.to_string_lossy().contains("jogi")).collect();
    assert!(strange.is_empty(), "nothing of ours lies in pg_wal: {strange:?}");
    server.stop();
}

/// A segment that is there and cannot be read must stop the server; taken for absent, it would promote without the rest.
fn an_error_is_not_the_end_of_wal(place: &Place, target: &str) {
    let objects = fs::read_dir(place.path("archive/wal_005")).expect("there").flatten().map(|e| e.path());
    let mut segments: Vec<PathBuf> = objects.filter(|p| segment_name(p).is_some()).collect();
    segments.sort();
    // Behind the base backup, before the target.
    let damaged = &segments[segments.len() / 2];
    fs::write(damaged, b"no such object").expect("damaged");
    let server = recovering(place, "damaged", &[format!("recovery_target_name = '{target}'")]);
    server.start();
    let ended = || !server.data.join("postmaster.pid").exists();
    wait::until("the server to stop", RECOVERED_WITHIN, ended);
    let said = server.said();
    assert!(said.contains(segment_name(damaged).expect("a segment")), "{said}");
    assert!(!said.contains("selected new timeline ID") && !said.contains("ready to accept connections"), "{said}");

    // The code is what makes the difference: 126 here, 1 on a standby, 74 for what the archive lacks.
    let code = |name: &str, data: &Path| {
        let mut command = Command::new(place.path("wal-g"));
        command.args(["wal-fetch", name]).arg(data.join("pg_wal/RECOVERYXLOG"));
        place.run(&command).status.code()
    };
    let name = segment_name(damaged).expect("a segment").to_owned();
    assert_eq!(code(&name, &server.data), Some(126));
    assert_eq!(code("0000000900000000000000FF", &server.data), Some(74));
    place.succeeds(Command::new("touch").arg(server.data.join("standby.signal")));
    assert_eq!(code(&name, &server.data), Some(1));
}

fn segment_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".zst")?;
    (name.len() == 24).then_some(name)
}

#[test]
fn a_check_tells_what_is_wrong_with_the_archive() {
    let Some(place) = Place::new() else { return };
    let mut check = Command::new(env!("CARGO_BIN_EXE_jogi"));
    check.args(["archive", "check"]);
    let said = place.succeeds(&check);
    assert!(said.contains("delete  ok"), "{said}");
    fs::remove_dir_all(place.path("archive")).expect("removed");
    let output = place.run(&check);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("there is no such directory"), "{said}");
    assert!(!said.contains("twenty-five"), "{said}");
}
