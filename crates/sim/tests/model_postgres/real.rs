//! The real side: PostgreSQL servers on sockets, their directories copied from one template.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use jogi_testkit::sql::{Login, Session, socket};
use jogi_testkit::{process, require, wait};
use tempfile::TempDir;

use crate::sequence::{RewindSaid, Role, Seen};

const PORT: u16 = 5432;
const SOON: Duration = Duration::from_secs(30);
const COMMAND: Duration = Duration::from_secs(20);
/// Where something might still begin, nothing may begin for so long: many times `wal_retrieve_retry_interval`.
const QUIET: Duration = Duration::from_millis(350);
/// Size of a checkpoint's record, and of the header of a page.
const CHECKPOINT: u64 = 120;
const PAGE: u64 = 8192;
const PAGE_HEADER: u64 = 24;
/// Of the first page of a segment.
const SEGMENT_HEADER: u64 = 40;

const SETTINGS: &str = "\
listen_addresses = ''
port = 5432
fsync = off
full_page_writes = on
wal_log_hints = on
autovacuum = off
shared_buffers = '32MB'
dynamic_shared_memory_type = mmap
max_connections = 12
max_worker_processes = 2
max_wal_senders = 5
wal_keep_size = '2GB'
max_wal_size = '4GB'
min_wal_size = '4MB'
checkpoint_timeout = '1h'
bgwriter_lru_maxpages = 0
wal_retrieve_retry_interval = '40ms'
wal_receiver_status_interval = '1s'
log_line_prefix = '%m %b '
";

/// A cluster that nobody has used, to copy.
pub struct Template {
    root: TempDir,
    bin: PathBuf,
}

impl Template {
    /// In memory where the machine has such a place: the copies are many.
    pub fn make() -> Template {
        let shm = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        builder.prefix("jogi-model-");
        let root = if shm.is_dir() { builder.tempdir_in(shm) } else { builder.tempdir() };
        let root = root.expect("a temporary directory");
        give_away(root.path());
        let template = Template { root, bin: require::postgres_bin().expect("looked for before") };
        let data = template.data();
        let path = data.to_str().expect("utf-8");
        template.succeed("initdb", &["-D", path, "-A", "trust", "-N", "-U", "postgres", "--wal-segsize=1"]);
        let conf = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).expect("initdb has written it");
        text.push_str(SETTINGS);
        fs::write(&conf, text).expect("writable");
        template.warm();
        template
    }

    /// A table to write to, and every hint bit set that a session would set: a server that only reads writes nothing.
    fn warm(&self) {
        let mut server = Server::new(self, "template", &self.data());
        server.launch(None);
        let session = wait::value("the template answers", SOON, || server.open());
        let run = |sql: &str| session.run(sql, COMMAND).expect(sql);
        run("create table t (n int, filler text)");
        run("vacuum freeze");
        run("checkpoint");
        drop(session);
        let session = server.open().expect("it answers");
        session.run(LOOK, COMMAND).expect("the query that every look asks");
        session.run("checkpoint", COMMAND).expect("it answers");
        drop(session);
        server.stop("INT");
    }

    /// Where its last record begins, the checkpoint of its shutdown.
    pub fn ends_at(&self) -> u64 {
        let server = Server::new(self, "template", &self.data());
        position(&server.control()["Latest checkpoint location"])
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("template")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = as_server_user(&self.bin.join(name));
        command.stdin(Stdio::null()).env("LC_ALL", "C").current_dir(self.root.path());
        command
    }

    fn succeed(&self, name: &str, args: &[&str]) -> Output {
        let output = self.program(name).args(args).output().expect("it can be started");
        assert!(output.status.success(), "{name} {args:?}: {}", said(&output));
        output
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// PostgreSQL refuses to run as root; and whatever it is, it dies with the thread that runs the test.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if require::am_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--inh-caps=-all"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn give_away(path: &Path) {
    if require::am_root() {
        let given = Command::new("chown").arg("postgres:postgres").arg(path).status();
        assert!(given.is_ok_and(|status| status.success()), "chown of {}", path.display());
    }
}

/// Each of its own directory, configuration and socket.
pub struct Servers<'a> {
    servers: Vec<Server<'a>>,
}

struct Server<'a> {
    template: &'a Template,
    name: String,
    /// Socket, configuration and log.
    place: PathBuf,
    data: PathBuf,
    child: Option<Child>,
    upstream: Option<String>,
    session: Option<Session>,
    /// The last that was known of the end of its log.
    position: u64,
    /// A standby has pages in memory that a checkpoint would have to write.
    dirty: bool,
}

const LOOK: &str = "select pg_is_in_recovery(),
    case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
         else pg_current_wal_insert_lsn() end - '0/0'::pg_lsn,
    case when pg_is_in_recovery() then null else pg_walfile_name(pg_current_wal_insert_lsn()) end,
    (select received_tli from pg_stat_wal_receiver where status = 'streaming'),
    (select string_agg(application_name, ' ') from pg_stat_replication
      where state = 'streaming' and backend_start < clock_timestamp() - interval '0.12 s')";

impl<'a> Servers<'a> {
    pub fn new(template: &'a Template, servers: usize) -> Servers<'a> {
        let one = |number: usize| {
            let name = format!("s{number}");
            let data = template.root.path().join(format!("{name}-data"));
            copy_tree(&template.data(), &data);
            Server::new(template, &name, &data)
        };
        Servers { servers: (0..servers).map(one).collect() }
    }

    pub fn start(&mut self, server: usize, upstream: Option<usize>) {
        let upstream = upstream.map(|upstream| self.connection_to(upstream));
        self.servers[server].launch(upstream);
    }

    fn connection_to(&self, server: usize) -> String {
        format!("host={} port={PORT} user=postgres", self.servers[server].place.display())
    }

    pub fn crash(&mut self, server: usize) {
        self.servers[server].kill();
    }

    pub fn stop_fast(&mut self, server: usize) {
        self.servers[server].stop("INT");
    }

    pub fn stop_immediate(&mut self, server: usize) {
        self.servers[server].stop("QUIT");
    }

    pub fn promote(&mut self, server: usize, checkpoint: bool) {
        let this = &mut self.servers[server];
        this.run("select pg_promote(wait => true, wait_seconds => 30)");
        if checkpoint {
            this.run("checkpoint");
        }
        this.dirty = false;
    }

    /// Whether a checkpoint of this standby would take its time: the one after a promotion is not over at once then.
    pub fn has_dirty_pages(&self, server: usize) -> bool {
        self.servers[server].dirty
    }

    pub fn follow(&mut self, server: usize, upstream: usize) {
        let connection = self.connection_to(upstream);
        let this = &mut self.servers[server];
        this.upstream = Some(connection);
        this.configure();
        this.run("select pg_reload_conf()");
    }

    pub fn rewind(&mut self, server: usize, source: usize) -> (RewindSaid, String) {
        let connection = self.connection_to(source);
        let this = &mut self.servers[server];
        let _ = fs::remove_file(this.data.join("standby.signal"));
        let mut command = this.template.program("pg_rewind");
        command.arg("-D").arg(&this.data).arg(format!("--source-server={connection} dbname=postgres"));
        let output = command.output().expect("it can be started");
        let text = said(&output);
        let what = match (output.status.success(), text.contains("no rewind required")) {
            (true, true) => RewindSaid::NotRequired,
            (true, false) => RewindSaid::Done,
            (false, _) => RewindSaid::Refused,
        };
        if what == RewindSaid::Done {
            self.servers[server].position = self.servers[source].look().map_or(0, |(_, position)| position);
        }
        (what, text)
    }

    /// Answers what the source wrote after the checkpoint with which the copy begins.
    pub fn clone(&mut self, server: usize, source: usize) -> u64 {
        self.servers[source].run("checkpoint");
        let before = self.servers[source].look().map_or(0, |(_, position)| position);
        let connection = self.connection_to(source);
        let this = &mut self.servers[server];
        fs::remove_dir_all(&this.data).expect("ours");
        let mut command = this.template.program("pg_basebackup");
        command.arg("-D").arg(&this.data).args(["-X", "stream", "--checkpoint=fast", "-d", &connection]);
        let output = command.output().expect("it can be started");
        assert!(output.status.success(), "pg_basebackup: {}", said(&output));
        let after = self.servers[source].look().map_or(0, |(_, position)| position);
        self.servers[server].position = after;
        after - before
    }

    pub fn checkpoint(&mut self, server: usize) {
        self.servers[server].run("checkpoint");
        self.servers[server].dirty = false;
    }

    /// Answers how many bytes of WAL that was.
    pub fn write(&mut self, server: usize, rows: u64, standbys: &[usize]) -> u64 {
        let before = self.servers[server].look().map_or(0, |(_, position)| position);
        self.servers[server]
            .run(&format!("insert into t select n, repeat('x', 1000) from generate_series(1, {rows}) n"));
        let after = self.servers[server].look().map_or(0, |(_, position)| position);
        for standby in standbys {
            self.servers[*standby].dirty = true;
        }
        after - before
    }

    /// Looks until `difference` finds none, and for a while longer where something might still begin.
    pub fn settles(
        &mut self,
        within: Duration,
        difference: impl Fn(&[(Seen, u64)]) -> Option<String>,
    ) -> Result<(), String> {
        let until = Instant::now() + within;
        let mut since: Option<Instant> = None;
        loop {
            let real = self.seen();
            match difference(&real) {
                None if is_final(&real) => return Ok(()),
                None if since.is_some_and(|since| since.elapsed() >= QUIET) => return Ok(()),
                None => {
                    since.get_or_insert_with(Instant::now);
                }
                Some(why) if Instant::now() >= until => return Err(why),
                Some(_) => since = None,
            }
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    fn seen(&mut self) -> Vec<(Seen, u64)> {
        let looks: Vec<Option<(Look, u64)>> = self.servers.iter_mut().map(Server::look).collect();
        let fed_by = |standby: &str| {
            looks.iter().position(|l| l.as_ref().is_some_and(|(l, _)| l.feeds.iter().any(|name| name == standby)))
        };
        let streams: Vec<Option<usize>> = self.servers.iter().map(|server| fed_by(&server.name)).collect();
        self.servers.iter_mut().zip(looks).zip(streams).map(|((server, look), from)| server.seen(look, from)).collect()
    }

    /// The end of each server's log.
    pub fn logs(&self) -> String {
        let one = |server: &Server| {
            let text = fs::read_to_string(server.place.join("log")).unwrap_or_default();
            let noise = ["client backend FATAL", "checkpointer LOG", "server running locally", "could not connect"];
            let lines = text.lines().filter(|line| !noise.iter().any(|noise| line.contains(noise)));
            let lines: Vec<&str> = lines.collect::<Vec<_>>().into_iter().rev().take(14).collect();
            let lines: Vec<String> = lines.into_iter().rev().map(|line| format!("    {line}\n")).collect();
            format!("  log of {}:\n{}", server.name, lines.concat())
        };
        self.servers.iter().map(one).collect()
    }
}

/// Nothing is left that might still begin: all that run are primaries, or standbys that stream.
fn is_final(real: &[(Seen, u64)]) -> bool {
    real.iter().all(|(seen, _)| match seen.role {
        Role::Down | Role::Primary => true,
        Role::NotReady => false,
        Role::Standby => seen.streams_from.is_some(),
    })
}

/// What a query found.
struct Look {
    in_recovery: bool,
    timeline: Option<u32>,
    feeds: Vec<String>,
}

impl<'a> Server<'a> {
    fn new(template: &'a Template, name: &str, data: &Path) -> Server<'a> {
        let place = template.root.path().join(format!("{name}-place"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir(&place).expect("a directory of ours");
        give_away(&place);
        Server {
            template,
            name: name.to_owned(),
            place,
            data: data.to_owned(),
            child: None,
            upstream: None,
            session: None,
            position: 0,
            dirty: false,
        }
    }

    fn configure(&self) {
        let upstream = self.upstream.as_ref().map(|connection| format!("{connection} application_name={}", self.name));
        let text = format!(
            "{SETTINGS}unix_socket_directories = '{}'\nprimary_conninfo = '{}'\n",
            self.place.display(),
            upstream.unwrap_or_default()
        );
        fs::write(self.place.join("postgresql.conf"), text).expect("writable");
    }

    fn launch(&mut self, upstream: Option<String>) {
        let signal = self.data.join("standby.signal");
        match &upstream {
            None => drop(fs::remove_file(&signal)),
            Some(_) => {
                fs::write(&signal, "").expect("writable");
                give_away(&signal);
            }
        }
        self.upstream = upstream;
        self.configure();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.place.join("log")).expect("writable");
        let mut command = self.template.program("postgres");
        command.arg("-D").arg(&self.data).arg("-c");
        command.arg(format!("config_file={}", self.place.join("postgresql.conf").display()));
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        self.dirty = false;
        self.child = Some(command.spawn().expect("it can be started"));
    }

    fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| i32::try_from(child.id()).expect("process ids are small"))
    }

    /// The process ended by itself, or runs.
    fn runs(&mut self) -> bool {
        let Some(child) = self.child.as_mut() else { return false };
        if child.try_wait().expect("a child of ours").is_some() {
            self.child = None;
            self.session = None;
        }
        self.child.is_some()
    }

    fn stop(&mut self, signal: &str) {
        self.session = None;
        let Some(pid) = self.pid() else { return };
        let signal = if signal == "INT" { process::Signal::INT } else { process::Signal::QUIT };
        process::send(pid, signal);
        wait::until(&format!("end of {}", self.name), Duration::from_secs(75), || !self.runs());
    }

    /// SIGKILL to every process at once.
    fn kill(&mut self) {
        self.session = None;
        if let (Some(pid), Some(mut child)) = (self.pid(), self.child.take()) {
            let all: Vec<i32> = process::tree(pid).into_iter().collect();
            process::kill_all(&all);
            child.wait().expect("a child of ours");
        }
    }

    fn open(&self) -> Option<Session> {
        let login = Login { user: "postgres".into(), password: String::new(), application: "look".into() };
        Session::open(&socket(&self.place, PORT), &login, COMMAND).ok()
    }

    fn run(&mut self, sql: &str) {
        let session = self.session.take().or_else(|| self.open()).expect("the server takes connections");
        session.run(sql, SOON).unwrap_or_else(|error| panic!("{} on {}: {error}", sql, self.name));
        self.session = Some(session);
    }

    fn look(&mut self) -> Option<(Look, u64)> {
        if !self.runs() {
            return None;
        }
        let session = self.session.take().or_else(|| self.open())?;
        let rows = session.run(LOOK, COMMAND).ok()?;
        self.session = Some(session);
        let row = rows.first()?;
        let text = |column: usize| row.get(column).cloned().flatten();
        let own = text(2).and_then(|file| u32::from_str_radix(file.get(..8)?, 16).ok());
        let position = text(1).and_then(|position| position.parse().ok()).map_or(0, before_header);
        self.position = position;
        let look = Look {
            in_recovery: text(0).as_deref() == Some("t"),
            timeline: own.or_else(|| text(3)?.parse().ok()),
            feeds: text(4).map(|names| names.split(' ').map(str::to_owned).collect()).unwrap_or_default(),
        };
        Some((look, position))
    }

    fn seen(&mut self, look: Option<(Look, u64)>, streams_from: Option<usize>) -> (Seen, u64) {
        let role = match &look {
            Some((look, _)) if look.in_recovery => Role::Standby,
            Some(_) => Role::Primary,
            None if self.child.is_some() => Role::NotReady,
            None => Role::Down,
        };
        let control = self.control();
        let field = |name: &str| control.get(name).cloned().unwrap_or_default();
        let number = |name: &str| field(name).parse().unwrap_or(0);
        let state = field("Database cluster state");
        if role == Role::Down && state == "shut down" {
            self.position = end_of_checkpoint(&field("Latest checkpoint location"));
        }
        let in_recovery = state == "shut down in recovery";
        let seen = Seen {
            role,
            checkpoint_timeline: number("Latest checkpoint's TimeLineID"),
            recovery_timeline: in_recovery.then(|| number("Min recovery ending loc's timeline")),
            state,
            timeline: look
                .and_then(|(look, _)| look.timeline)
                .filter(|_| role == Role::Primary || streams_from.is_some()),
            streams_from,
            histories: self.histories(),
        };
        (seen, self.position)
    }

    fn control(&self) -> BTreeMap<String, String> {
        let output = self.template.succeed("pg_controldata", &[self.data.to_str().expect("utf-8")]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
    }

    fn histories(&self) -> BTreeMap<u32, Vec<u32>> {
        let listed = fs::read_dir(self.data.join("pg_wal")).expect("a data directory");
        let one = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".history")?.to_owned();
            let text = fs::read_to_string(&path).ok()?;
            let parents = text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
            Some((u32::from_str_radix(&name, 16).ok()?, parents))
        };
        listed.filter_map(one).collect()
    }

    /// A killed server leaves its segment of shared memory behind.
    fn remove_shared_memory(&self) {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(id) = id {
            let _ = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.session = None;
        if let (Some(pid), Some(mut child)) = (self.pid(), self.child.take()) {
            for pid in process::tree(pid) {
                process::send(pid, process::Signal::KILL);
            }
            let _ = child.wait();
        }
        self.remove_shared_memory();
        if self.data != self.template.data() {
            let _ = fs::remove_dir_all(&self.data);
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// `0/67CE78`.
fn position(text: &str) -> u64 {
    let number = |digits| u64::from_str_radix(digits, 16).expect("hexadecimal");
    let (high, low) = text.split_once('/').expect("a position");
    number(high) << 32 | number(low)
}

/// Before and behind the header of a page is the same place in the log.
fn before_header(position: u64) -> u64 {
    let into = position % PAGE;
    if into <= SEGMENT_HEADER { position - into } else { position }
}

/// The first byte after a checkpoint's record; a record goes on behind the header of the next page.
fn end_of_checkpoint(location: &str) -> u64 {
    let start = position(location);
    let crosses = start % PAGE + CHECKPOINT > PAGE;
    before_header(start + CHECKPOINT + if crosses { PAGE_HEADER } else { 0 })
}

fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp -a {} {}", from.display(), to.display());
}
