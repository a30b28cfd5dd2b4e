//! The guard against real PostgreSQL: what happens to a server when its agent, its lease, its guard or one of its own
//! processes fails.
//!
//! The guard's program is `JOGI_BIN` (the one binary) or this crate's example `guard`, which is the same code. As root
//! the servers and the guard run as `postgres`; as an ordinary user everything runs as that user.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::lease::Deadlines;
use jogi_net::clock::boot_now;
use jogi_pg::guard::{
    Acted, Client, CommandError, Event, ExitStatus, LeaseIdentity, Page, Refused, Start, StartAs, Status, Stop,
};
use jogi_pg::pidfile::PostmasterPid;
use jogi_pg::rundir::RunDir;
use jogi_pg::{fence, pidfd};
use jogi_testkit::require::{am_root, postgres_bin};
use jogi_testkit::sql::{Login, Session, socket};
use jogi_testkit::{process, wait};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

const SOON: Duration = Duration::from_secs(20);
const COMMAND: Duration = Duration::from_secs(5);
const GENERATION: u64 = 7;
const IDENTITY: LeaseIdentity = LeaseIdentity { lease: 71, created: 72 };
const PORT: u16 = 5432;

/// One data directory with its server's programs.
struct Place {
    dir: PathBuf,
    data: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in process::all() {
            if process::command_line(pid).contains(self.dir.to_str().expect("utf-8")) && process::alive(pid) {
                process::kill_all(&[pid]);
            }
        }
        let _ = fence::kill_all(&self.data, boot_now() + SOON);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// `None`, said aloud, where there is no PostgreSQL.
fn place(name: &str) -> Option<Place> {
    let Some(bin) = postgres_bin() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true demands PostgreSQL");
        eprintln!("SKIPPED: this test did not run: no PostgreSQL server programs");
        return None;
    };
    let dir = std::env::temp_dir().join(format!("jogi-guard-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).expect("root may");
    }
    let place = Place { data: dir.join("data"), dir };
    place.run(&bin.join("initdb"), &["-D", place.data.to_str().expect("utf-8"), "-A", "trust", "-N", "-U", "postgres"]);
    let socket_dir = place.dir.display();
    place.configure(&format!(
        "listen_addresses = ''\nunix_socket_directories = '{socket_dir}'\nport = {PORT}\nfsync = off\nshared_buffers = '16MB'\n"
    ));
    Some(place)
}

/// Root runs servers as `postgres`.
fn server_user() -> Option<(u32, u32)> {
    if !am_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").expect("readable");
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("the user postgres exists");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().expect("a number"), fields[3].parse().expect("a number")))
}

fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

impl Place {
    fn run(&self, program: &Path, args: &[&str]) {
        let output = as_server_user(program).args(args).output().expect("it can be started");
        assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn configure(&self, lines: &str) {
        use std::io::Write as _;
        let path = self.data.join("postgresql.conf");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("it exists");
        file.write_all(lines.as_bytes()).expect("writable");
    }

    fn start(&self, start_as: StartAs) -> Start {
        Start {
            program: postgres_bin().expect("found before").join("postgres"),
            args: ["-D".into(), self.data.clone().into()].to_vec(),
            env: [("LC_ALL".into(), "C".into()), ("PATH".into(), "/usr/bin:/bin".into())].to_vec(),
            log: self.log(),
            start_as,
        }
    }

    fn log(&self) -> OwnedFd {
        let path = self.dir.join("server.log");
        std::fs::OpenOptions::new().create(true).append(true).open(path).expect("writable").into()
    }

    fn session(&self) -> Session {
        let login = Login { user: "postgres".into(), password: String::new(), application: "test".into() };
        wait::value("the server answers", SOON, || {
            let session = Session::open(&socket(&self.dir, PORT), &login, COMMAND).ok()?;
            session.run("select 1", COMMAND).ok()?;
            Some(session)
        })
    }

    fn control_state(&self) -> String {
        let program = postgres_bin().expect("found before").join("pg_controldata");
        let output = as_server_user(&program).arg(&self.data).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.starts_with("Database cluster state:")).expect("it is there");
        line.rsplit(": ").next().expect("two parts").trim().to_owned()
    }

    fn is_fenced(&self) -> bool {
        fence::is_fenced(&self.data).expect("readable")
    }
}

/// A member without an agent's mind: the test decides what the agent does.
struct Member {
    place: Place,
    run_dir: RunDir,
    runtime: Runtime,
    client: Client,
    events: Receiver<Event>,
}

fn guard_program() -> PathBuf {
    if let Some(program) = std::env::var_os("JOGI_BIN") {
        return program.into();
    }
    let own = std::env::current_exe().expect("known");
    let program = own.parent().and_then(Path::parent).expect("target/PROFILE/deps/test").join("examples/guard");
    assert!(program.exists(), "{program:?} is not built: build the example too, or set JOGI_BIN to the jogi binary");
    program
}

fn member(name: &str) -> Option<Member> {
    let place = place(name)?;
    let run_dir = RunDir::lock(&place.data).expect("free");
    let runtime = runtime();
    let (client, events) = attach(&runtime, &run_dir);
    Some(Member { place, run_dir, runtime, client, events })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn attach(runtime: &Runtime, run_dir: &RunDir) -> (Client, Receiver<Event>) {
    let program = guard_program();
    runtime.block_on(Client::attach_or_spawn(run_dir, &program, SOON)).expect("there is a guard")
}

impl Member {
    fn page(&self) -> Page {
        self.client.page()
    }

    fn renew(&self, ttl: Duration) -> Deadlines {
        let deadlines = Deadlines::new(boot_now(), ttl);
        self.page().renew(IDENTITY, GENERATION, ttl, &deadlines);
        deadlines
    }

    fn start(&self, start_as: StartAs) -> Result<pidfd::ProcessId, CommandError> {
        self.runtime.block_on(self.client.start(self.place.start(start_as), COMMAND))
    }

    /// A running primary under a lease of `ttl` that was renewed just now, with a session that has written.
    fn primary(&self, ttl: Duration) -> (i32, Session, Deadlines) {
        self.renew(Duration::from_secs(300));
        self.page().arm();
        let postmaster = self.start(StartAs::Primary { generation: GENERATION }).expect("permitted");
        let session = self.place.session();
        session.run("create table if not exists t (i int)", COMMAND).expect("writable");
        let deadlines = self.renew(ttl);
        (postmaster.pid, session, deadlines)
    }

    fn status(&self) -> Status {
        self.runtime.block_on(self.client.status(COMMAND)).expect("it answers")
    }

    fn stop(&self, stop: Stop) {
        self.runtime.block_on(self.client.stop(stop, COMMAND)).expect("it obeys");
    }

    fn event(&mut self) -> Event {
        let next = self.runtime.block_on(async { tokio::time::timeout(SOON, self.events.recv()).await });
        next.expect("an event comes").expect("the last one has not come yet")
    }

    fn reattach(&mut self) {
        (self.client, self.events) = attach(&self.runtime, &self.run_dir);
    }

    fn no_event(&mut self) {
        assert_eq!(self.events.try_recv().ok(), None);
    }
}

fn refusal(result: Result<impl std::fmt::Debug, CommandError>) -> Refused {
    match result {
        Err(CommandError::Refused { refused, .. }) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

/// Inserts until it fails; answers when the last row was acknowledged.
fn writer(session: Session) -> std::thread::JoinHandle<Tick> {
    std::thread::spawn(move || {
        let mut last = Tick::ZERO;
        while session.run("insert into t values (1)", COMMAND).is_ok() {
            last = boot_now();
        }
        last
    })
}

#[test]
fn a_primary_is_started_only_armed_under_the_right_generation_and_in_time() {
    let Some(mut member) = member("permit") else { return };
    let primary = StartAs::Primary { generation: GENERATION };
    member.renew(Duration::from_secs(300));
    assert_eq!(refusal(member.start(primary)), Refused::NotArmed);
    member.page().arm();
    let other = StartAs::Primary { generation: 8 };
    assert_eq!(refusal(member.start(other)), Refused::WrongGeneration { held: GENERATION, asked: 8 });
    let long_ago = Deadlines::new(boot_now() - Duration::from_secs(60), Duration::from_secs(5));
    member.page().renew(IDENTITY, GENERATION, Duration::from_secs(5), &long_ago);
    assert_eq!(refusal(member.start(primary)), Refused::Expired { soft: long_ago.soft });
    assert_eq!(refusal(member.start(StartAs::Standby)), Refused::NotAStandby);
    assert!(member.place.is_fenced());

    let (pid, _session, _) = member.primary(Duration::from_secs(300));
    let status = member.status();
    assert_eq!(status.postmaster.map(|found| found.pid), Some(pid));
    assert_eq!(status.role, Some(primary));
    assert!(status.armed && !status.adopted && !status.ending);
    assert_eq!(member.page().guard().expect("whole").postmaster.pid, pid);
    assert_eq!(refusal(member.start(primary)), Refused::AlreadyRunning { pid: u64::try_from(pid).expect("positive") });
    let file = PostmasterPid::read(&member.place.data).expect("readable").expect("there");
    assert_eq!(file.process(&member.place.data).expect("readable").map(|found| found.pid()), Some(pid));
    assert!(fence::shm_attached(file.segment.expect("it serves")) > 0);

    member.stop(Stop::Fast);
    assert!(matches!(member.event(), Event::Exited(exit) if exit.pid == pid && exit.how == ExitStatus::Code(0)));
    assert_eq!(member.event(), Event::Fenced);
    assert_eq!(member.status().role, None);
    assert!(member.place.is_fenced());
}

#[test]
fn no_renewal_shuts_the_primary_down_between_soft_and_hard() {
    let Some(mut member) = member("soft") else { return };
    let (_, session, deadlines) = member.primary(Duration::from_secs(3));
    let writer = writer(session);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, at } if at >= deadlines.soft));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Code(0)));
    assert_eq!(member.event(), Event::Fenced);
    assert!(boot_now() < deadlines.hard, "a fast shutdown of an idle server takes no second");
    assert!(writer.join().expect("no panic") < deadlines.hard);
    assert_eq!(member.place.control_state(), "shut down");
    member.no_event();
}

#[test]
fn a_stopped_backend_is_continued_so_that_the_shutdown_can_end() {
    let Some(mut member) = member("stopped-backend") else { return };
    let (pid, session, _) = member.primary(Duration::from_secs(5));
    let backend = backend_pid(&session);
    process::freeze(backend);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, .. }));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.pid == pid && exit.how == ExitStatus::Code(0)));
    assert_eq!(member.event(), Event::Fenced);
    assert!(!process::alive(backend));
}

/// F10: what does not end by itself is killed at `hard`, and only an empty data directory is called fenced.
#[test]
fn a_backend_that_cannot_end_is_killed_at_hard() {
    let Some(mut member) = member("hard") else { return };
    let (_, session, deadlines) = member.primary(Duration::from_secs(3));
    let backend = backend_pid(&session);
    let holder = hold(backend);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, .. }));
    assert!(matches!(member.event(), Event::Acted { what: Acted::Killed, at } if at >= deadlines.hard));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Signal(9)));
    assert_eq!(member.event(), Event::Fenced);
    assert!(member.place.is_fenced());
    // It has neither the data directory nor the shared memory any more; the rest of its end takes the kernel a moment.
    wait::until("the backend's end", Duration::from_secs(10), || !process::alive(backend));
    assert!(boot_now() < Deadlines::new(deadlines.hard, Duration::from_secs(2)).hard, "killing takes no second");
    holder.join().expect("no panic");
}

/// F9: the postmaster is stopped for longer than the lease. It is thawed by the guard with its end already pending.
#[test]
fn a_stopped_postmaster_is_ended_too() {
    let Some(mut member) = member("stopped-postmaster") else { return };
    let (pid, session, _) = member.primary(Duration::from_secs(3));
    process::freeze(pid);
    let writer = writer(session);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, .. }));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Code(0)));
    assert_eq!(member.event(), Event::Fenced);
    writer.join().expect("no panic");
}

#[test]
fn a_postmaster_that_stays_stopped_is_killed_with_its_writing_backends() {
    let Some(mut member) = member("kept-stopped") else { return };
    let (pid, session, deadlines) = member.primary(Duration::from_secs(3));
    let holder = hold(pid);
    let writer = writer(session);
    loop {
        match member.event() {
            Event::Fenced => break,
            Event::Exited(exit) => assert_eq!(exit.pid, pid),
            Event::Acted { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    holder.join().expect("no panic");
    assert!(writer.join().expect("no panic") < deadlines.hard + Duration::from_millis(150));
    assert!(member.place.is_fenced());
}

/// agent_tree_kill: agent and guard die together, and only the kernel is left to end the server.
#[test]
fn the_guards_death_ends_the_postmaster() {
    let Some(mut member) = member("guard-killed") else { return };
    let (pid, session, _) = member.primary(Duration::from_secs(300));
    let writer = writer(session);
    let guard = member.client.guard().pid;
    process::send(guard, rustix::process::Signal::KILL);
    let killed = boot_now();
    assert_eq!(member.event(), Event::Died);
    wait::until("nothing of the server is left", SOON, || member.place.is_fenced());
    assert!(!process::alive(pid));
    let last_write = writer.join().expect("no panic");
    assert!(last_write.since(killed) < Duration::from_millis(500), "wrote {:?} after", last_write.since(killed));
    let answer = member.runtime.block_on(member.client.status(COMMAND));
    assert!(matches!(answer, Err(CommandError::Disconnected { .. })));

    member.reattach();
    assert_ne!(member.client.guard().pid, guard);
    assert_eq!(member.status().postmaster, None);
}

#[test]
fn a_killed_postmaster_takes_its_backends_along() {
    let Some(mut member) = member("postmaster-killed") else { return };
    let (pid, session, _) = member.primary(Duration::from_secs(300));
    let writer = writer(session);
    process::send(pid, rustix::process::Signal::KILL);
    let killed = boot_now();
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Signal(9)));
    assert_eq!(member.event(), Event::Fenced);
    assert!(writer.join().expect("no panic").since(killed) < Duration::from_millis(300));
    member.primary(Duration::from_secs(300));
    member.stop(Stop::Immediate);
}

#[test]
fn a_restarted_agent_finds_everything_as_it_was() {
    let Some(mut member) = member("reattach") else { return };
    let (pid, session, deadlines) = member.primary(Duration::from_secs(300));
    let guard = member.client.guard();
    member.reattach();
    assert_eq!(member.client.guard(), guard);
    let status = member.status();
    assert_eq!(status.postmaster.map(|found| found.pid), Some(pid));
    assert_eq!(status.role, Some(StartAs::Primary { generation: GENERATION }));
    let adopted = member.page().adoptable(IDENTITY, boot_now()).expect("the same lock");
    assert_eq!(adopted.lease.deadlines, deadlines);
    assert_eq!(member.page().adoptable(LeaseIdentity { lease: 1, created: 72 }, boot_now()), None);
    session.run("insert into t values (1)", COMMAND).expect("the session never noticed");
    member.stop(Stop::Immediate);
    assert!(matches!(member.event(), Event::Exited(_)));
}

/// Runs in a process of its own, which is killed: see the next test.
#[test]
fn helper_an_agent_that_will_be_killed() {
    let Some(data) = std::env::var_os("JOGI_TEST_AGENT_OF") else { return };
    let data = PathBuf::from(data);
    let place = Place { dir: data.parent().expect("it has one").to_owned(), data };
    let run_dir = RunDir::lock(&place.data).expect("free");
    let runtime = runtime();
    let (client, events) = attach(&runtime, &run_dir);
    let member = Member { place, run_dir, runtime, client, events };
    let (_, session, _) = member.primary(Duration::from_secs(300));
    drop(session);
    loop {
        member.renew(Duration::from_secs(4));
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// agent_kill: the guard goes on without the agent, and the lease runs out.
#[test]
fn an_agents_death_closes_the_primary_at_its_deadline() {
    let Some(place) = place("agent-killed") else { return };
    let mut agent = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "helper_an_agent_that_will_be_killed"])
        .env("JOGI_TEST_AGENT_OF", &place.data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let run_dir = place.dir.join("data.jogi");
    let runtime = runtime();
    let (observer, mut events) = wait::value("the agent has started a primary", SOON, || {
        let (client, events) = runtime.block_on(Client::attach(&run_dir, COMMAND)).ok()??;
        let page = client.page();
        let short = page.lease().is_some_and(|found| found.ttl == Duration::from_secs(4));
        (short && page.is_armed()).then_some((client, events))
    });
    let refused = RunDir::lock(&place.data).expect_err("the agent holds it").to_string();
    assert!(refused.contains(&format!("pid {}", agent.id())), "{refused}");
    let session = place.session();
    agent.kill().expect("ours");
    agent.wait().expect("ours");
    let deadlines = observer.page().lease().expect("whole").lease.deadlines;
    let writer = writer(session);
    let mut seen = Vec::new();
    while seen.last() != Some(&Event::Fenced) {
        let next = runtime.block_on(async { tokio::time::timeout(SOON, events.recv()).await });
        seen.push(next.expect("an event comes").expect("not the last"));
    }
    let last_write = writer.join().expect("no panic");
    assert!(last_write < deadlines.hard);
    assert!(last_write > deadlines.soft - Duration::from_secs(1), "it served until then");
    assert!(matches!(seen[0], Event::Acted { what: Acted::Shutdown, at } if at >= deadlines.soft), "{seen:?}");
    assert_eq!(runtime.block_on(observer.status(COMMAND)).expect("it lives").acted, Acted::Shutdown);
    RunDir::lock(&place.data).expect("the lock went with the agent");
    let log = std::fs::read_to_string(run_dir.join("guard.log")).expect("readable");
    assert!(log.contains("the lease ran out"), "{log}");
}

#[test]
fn in_pause_no_deadline_is_held() {
    let Some(mut member) = member("pause") else { return };
    let (pid, session, _) = member.primary(Duration::from_secs(300));
    member.page().disarm();
    let deadlines = member.renew(Duration::from_secs(2));
    wait::until("the hard deadline has passed", SOON, || boot_now() > deadlines.hard + Duration::from_millis(300));
    session.run("insert into t values (1)", COMMAND).expect("it serves");
    member.no_event();

    // Back from pause under a new acquisition of the lock.
    let fresh = Deadlines::new(boot_now(), Duration::from_secs(300));
    member.page().renew(IDENTITY, 8, Duration::from_secs(300), &fresh);
    assert_eq!(
        refusal(member.runtime.block_on(member.client.hold(9, COMMAND))),
        Refused::WrongGeneration { held: 8, asked: 9 }
    );
    member.runtime.block_on(member.client.hold(8, COMMAND)).expect("permitted");
    member.page().arm();
    assert_eq!(member.status().role, Some(StartAs::Primary { generation: 8 }));
    session.run("insert into t values (1)", COMMAND).expect("it serves");
    assert!(process::alive(pid));

    // A lock that was lost and taken again is another one: this server must go.
    member.page().renew(IDENTITY, 9, Duration::from_secs(300), &fresh);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, .. }));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Code(0)));
}

#[test]
fn a_server_without_a_lease_is_put_under_one_later() {
    let Some(mut member) = member("bootstrap") else { return };
    member.start(StartAs::Unleased).expect("no lease is asked for");
    drop(member.place.session());
    assert_eq!(member.status().role, Some(StartAs::Unleased));
    let deadlines = member.renew(Duration::from_secs(3));
    member.runtime.block_on(member.client.hold(GENERATION, COMMAND)).expect("permitted");
    member.page().arm();
    assert_eq!(member.status().role, Some(StartAs::Primary { generation: GENERATION }));
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, at } if at >= deadlines.soft));
}

/// The startup process waits a minute between two tries to reach its dead primary: only waking gets it out of there.
#[test]
fn a_promotion_is_kept_awake_until_recovery_has_ended() {
    let Some(mut member) = member("promote") else { return };
    member.place.configure(
        "wal_retrieve_retry_interval = '60s'\nprimary_conninfo = 'host=/nonexistent'\ncluster_name = 'a: startup'\n",
    );
    std::fs::write(member.place.data.join("standby.signal"), "").expect("writable");
    let postmaster = member.start(StartAs::Standby).expect("it is set up as one");
    let session = member.place.session();
    assert!(session.run("create table u (i int)", COMMAND).expect_err("a standby").is_read_only());
    member.renew(Duration::from_secs(300));
    let promote = member.client.promote(GENERATION, COMMAND);
    assert_eq!(refusal(member.runtime.block_on(promote)), Refused::NotArmed);
    member.page().arm();
    let promote = member.client.promote(8, COMMAND);
    assert_eq!(refusal(member.runtime.block_on(promote)), Refused::WrongGeneration { held: GENERATION, asked: 8 });
    assert!(!member.place.data.join("promote").exists());

    let begun = boot_now();
    member.runtime.block_on(member.client.promote(GENERATION, COMMAND)).expect("permitted");
    assert_eq!(member.event(), Event::Promoted { generation: GENERATION });
    assert!(boot_now().since(begun) < Duration::from_secs(4), "{:?}", boot_now().since(begun));
    session.run("create table u (i int)", COMMAND).expect("writable");
    let status = member.status();
    assert!(!status.promoting);
    assert_eq!(status.postmaster, Some(postmaster));
    assert_eq!(status.role, Some(StartAs::Primary { generation: GENERATION }));
    let again = member.client.promote(GENERATION, COMMAND);
    assert_eq!(refusal(member.runtime.block_on(again)), Refused::AlreadyPrimary);

    let deadlines = member.renew(Duration::from_secs(2));
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, at } if at >= deadlines.soft));
    assert!(matches!(member.event(), Event::Exited(_)));
}

#[test]
fn a_standby_outlives_every_deadline_and_its_agent() {
    let Some(mut member) = member("standby") else { return };
    std::fs::write(member.place.data.join("standby.signal"), "").expect("writable");
    let postmaster = member.start(StartAs::Standby).expect("it is set up as one");
    drop(member.place.session());
    member.page().arm();
    let deadlines = member.renew(Duration::from_secs(2));
    wait::until("the hard deadline has passed", SOON, || boot_now() > deadlines.hard + Duration::from_millis(300));
    member.no_event();
    member.reattach();
    assert_eq!(member.status().postmaster, Some(postmaster));
    member.stop(Stop::Fast);
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Code(0)));
}

#[test]
fn a_server_that_runs_already_is_adopted_and_held_to_the_deadlines() {
    let Some(mut member) = member("adopt") else { return };
    let log = member.place.dir.join("adopted.log");
    let (data, log) = (member.place.data.to_str().expect("utf-8"), log.to_str().expect("utf-8"));
    member.place.run(&postgres_bin().expect("found before").join("pg_ctl"), &["-D", data, "-l", log, "-w", "start"]);
    let session = member.place.session();
    let pid = PostmasterPid::read(&member.place.data).expect("readable").expect("there").pid;
    let deadlines = member.renew(Duration::from_secs(4));
    let primary = StartAs::Primary { generation: GENERATION };
    let own = i32::try_from(std::process::id()).expect("a pid");
    assert_eq!(refusal(member.runtime.block_on(member.client.adopt(own, primary, COMMAND))), Refused::NotItsServer);
    assert!(matches!(refusal(member.start(StartAs::Unleased)), Refused::NotFenced { left } if left > 1));
    member.runtime.block_on(member.client.adopt(pid, primary, COMMAND)).expect("it runs here");
    member.page().arm();
    let status = member.status();
    assert!(status.adopted);
    assert_eq!(status.postmaster.map(|found| found.pid), Some(pid));
    drop(session);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, at } if at >= deadlines.soft));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Unknown));
    assert_eq!(member.event(), Event::Fenced);
}

#[test]
fn kill_all_ends_even_what_nobody_took_charge_of() {
    let Some(mut member) = member("kill-all") else { return };
    let log = member.place.dir.join("foreign.log");
    let (data, log) = (member.place.data.to_str().expect("utf-8"), log.to_str().expect("utf-8"));
    member.place.run(&postgres_bin().expect("found before").join("pg_ctl"), &["-D", data, "-l", log, "-w", "start"]);
    member.stop(Stop::KillAll);
    assert_eq!(member.event(), Event::Fenced);
    assert!(member.place.is_fenced());
    let session = {
        let (_, session, _) = member.primary(Duration::from_secs(300));
        session
    };
    let writer = writer(session);
    member.stop(Stop::KillAll);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Killed, .. }));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Signal(9)));
    assert_eq!(member.event(), Event::Fenced);
    writer.join().expect("no panic");
}

#[test]
fn a_program_that_cannot_be_executed_is_named_as_such() {
    let Some(mut member) = member("exec") else { return };
    let mut start = member.place.start(StartAs::Unleased);
    start.program = "/nonexistent/postgres".into();
    member.runtime.block_on(member.client.start(start, COMMAND)).expect("a child was made");
    let Event::Exited(exit) = member.event() else { panic!("not an exit") };
    assert_eq!(exit.how, ExitStatus::NotExecuted { errno: libc_enoent() });
    assert_eq!(member.event(), Event::Fenced);
    let status = member.status();
    assert_eq!(status.last_exit, Some(exit));
}

fn libc_enoent() -> i32 {
    rustix::io::Errno::NOENT.raw_os_error()
}

/// What an ordinary user gets: 64 KB of locked memory here, no say over the out-of-memory killer.
#[test]
fn the_guard_is_small_and_runs_as_an_ordinary_user() {
    let limit = rustix::process::Rlimit { current: Some(64 * 1024), maximum: Some(64 * 1024) };
    rustix::process::setrlimit(rustix::process::Resource::Memlock, limit).expect("lowering is allowed");
    let Some(mut member) = member("small") else { return };
    let (pid, session, _) = member.primary(Duration::from_secs(3));
    let guard = member.client.guard().pid;
    let status = member.status();
    assert!(status.locked_bytes > 0 && status.locked_bytes <= 64 * 1024, "{}", status.locked_bytes);
    for name in ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] {
        let signal = match name {
            "SIGTERM" => rustix::process::Signal::TERM,
            "SIGINT" => rustix::process::Signal::INT,
            "SIGHUP" => rustix::process::Signal::HUP,
            _ => rustix::process::Signal::QUIT,
        };
        assert!(process::send(guard, signal), "{name}");
    }
    let own_session = pidfd::stat(guard).expect("it lives").session;
    assert_eq!(own_session, guard, "it leads a session of its own");
    assert_eq!(pidfd::stat(pid).expect("it lives").session, pid, "and so does the postmaster");
    drop(session);
    assert!(matches!(member.event(), Event::Acted { what: Acted::Shutdown, .. }));
    assert!(matches!(member.event(), Event::Exited(exit) if exit.how == ExitStatus::Code(0)));
    assert_eq!(member.event(), Event::Fenced);
    let private = private_bytes(guard);
    eprintln!("guard: {} KB private, {} KB locked", private / 1024, status.locked_bytes / 1024);
    // Without optimisation the one binary's table of addresses alone takes half a megabyte.
    let bound = if cfg!(debug_assertions) && std::env::var_os("JOGI_BIN").is_some() { 2 } else { 1 };
    assert!(private <= bound * 1024 * 1024, "{private} bytes");
}

#[test]
fn everything_resident_is_locked_where_the_limit_allows_it() {
    let Some(member) = member("locked") else { return };
    let status = member.status();
    let guard = member.client.guard().pid;
    let text = std::fs::read_to_string(format!("/proc/{guard}/smaps_rollup")).expect("readable");
    let kb = |name: &str| field_kb(&text, name);
    eprintln!(
        "guard: {} KB locked of {} KB resident, {} KB private",
        status.locked_bytes / 1024,
        kb("Rss:"),
        kb("Anonymous:")
    );
    assert!(status.locked_bytes > 0);
    // The limit here is the machine's; the kernel counts shared pages in proportion on both sides.
    if status.locked_bytes / 1024 >= kb("Rss:") {
        assert!(kb("Locked:") * 10 >= kb("Pss:") * 9, "{text}");
    }
}

#[test]
fn without_server_and_agent_the_guard_ends() {
    let Some(place) = place("lonely") else { return };
    let run_dir = RunDir::lock(&place.data).expect("free");
    let mut guard = as_server_user(&guard_program())
        .arg("guard")
        .args([Path::new("--run-dir"), run_dir.path(), Path::new("--data-dir"), run_dir.data_dir()])
        .args(["--lonely-ms", "300"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait::until("it has ended", SOON, || guard.try_wait().expect("ours").is_some());
    assert_eq!(guard.wait().expect("ours").code(), Some(0));
}

#[test]
fn a_guard_that_cannot_start_says_why() {
    let Some(place) = place("broken") else { return };
    let run_dir = RunDir::lock(&place.data).expect("free");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let missing = runtime.block_on(Client::attach_or_spawn(&run_dir, Path::new("/nonexistent/jogi"), COMMAND));
    let message = missing.err().expect("no such program").to_string();
    assert!(message.contains("/nonexistent/jogi"), "{message}");
    let ends = runtime.block_on(Client::attach_or_spawn(&run_dir, Path::new("/bin/false"), COMMAND));
    let message = ends.err().expect("it ends at once").to_string();
    assert!(message.contains("as soon as it was started") && message.contains("guard.log"), "{message}");
    assert!(runtime.block_on(Client::attach(run_dir.path(), COMMAND)).expect("nobody is not an error").is_none());
}

fn backend_pid(session: &Session) -> i32 {
    let rows = session.run("select pg_backend_pid()", COMMAND).expect("it answers");
    rows[0][0].as_deref().expect("not null").parse().expect("a number")
}

/// A process that no signal but SIGKILL moves, as one in uninterruptible sleep that ends in the end: a tracer holds it.
fn hold(pid: i32) -> std::thread::JoinHandle<()> {
    let (held, is_held) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let none = std::ptr::null_mut::<libc::c_void>();
        let mut status = 0;
        // SAFETY: plain system calls; `status` is valid for the calls.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, none, none), 0, "tracing is allowed here");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none), 0);
            assert_eq!(libc::waitpid(pid, &raw mut status, libc::__WALL), pid);
            assert!(libc::WIFSTOPPED(status));
            held.send(()).expect("waited for");
            // Its death is told to the tracer first, and to its parent when the tracer has heard.
            assert_eq!(libc::waitpid(pid, &raw mut status, libc::__WALL), pid);
            assert!(libc::WIFSIGNALED(status));
        }
    });
    is_held.recv().expect("it is held");
    holder
}

/// Memory of its own. Not `Private_Dirty`, which also counts pages of a program file that was written to disk just now.
fn private_bytes(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("readable");
    field_kb(&text, "Anonymous:") * 1024
}

fn field_kb(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).expect("it is there");
    line.split_ascii_whitespace().nth(1).expect("a number").parse().expect("a number")
}
