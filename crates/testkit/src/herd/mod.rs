//! A herd for black-box tests: members on hosts of their own with agent and PostgreSQL, a real etcd beside them, faults,
//! clients that write, and the checks that matter.
//!
//! Nothing outlives the test: everything is killed by its number and removed when the herd is dropped, after a panic too;
//! if the test is itself killed, a janitor does it. When a test fails, the ends of all logs are printed.

mod ctl;
mod fault;
mod front;
mod janitor;
mod member;
mod place;
mod spec;
mod store;
mod writer;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use ctl::CtlOutput;
pub use front::{Front, Manner};
pub use member::{Member, PASSWORD, superuser};
pub use spec::{HerdSpec, WEAKEN, merge};
pub use store::{Change, Entry, Store};
pub use writer::{Ack, Journal, KEPT, KeptSession, Writers, overlap};

use crate::freezer::Freezer;
use crate::{process, wait};
use janitor::Janitor;
use place::Lab;

/// The cluster's name.
pub const SCOPE: &str = "herd";

/// Where its keys are.
pub const BASE: &str = "/service/herd/";

/// Long enough for a first initdb, and for copies of it, on a loaded machine.
pub const START_WITHIN: Duration = Duration::from_secs(120);

/// Long enough for any failover, with a lease of 20 s, an unreachable old leader and a slow machine: tests are about order
/// and outcome, benchmarks about speed.
pub const CHANGE_WITHIN: Duration = Duration::from_secs(100);

/// Processes that start meanwhile are found in a second look.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// How much of each log a failed test shows.
const LOG_LINES: usize = 200;

/// Keeps the directory of a failed test.
const KEEP: &str = "JOGI_TEST_KEEP";

/// Several herds of one process differ by this.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A herd.
pub struct Herd {
    members: Vec<Member>,
    store: Store,
    ctl_template: String,
    jogi: PathBuf,
    prefix: String,
    janitor: Janitor,
    // Last: the hosts' files go after their processes.
    workdir: TempDir,
}

impl Herd {
    fn build(spec: HerdSpec) -> Herd {
        Self::try_build(&spec).unwrap_or_else(|e| panic!("making a herd: {e:#}"))
    }

    fn try_build(spec: &HerdSpec) -> anyhow::Result<Herd> {
        let prefix = format!("jt{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let workdir = tempfile::Builder::new().prefix("jogi-test-").tempdir_in("/tmp")?;
        fs::set_permissions(workdir.path(), fs::Permissions::from_mode(0o755))?;
        let janitor = Janitor::hire(&prefix, workdir.path())?;
        let jogi = executable_by_all(&spec.jogi, workdir.path())?;
        let lab = if spec.loopback { None } else { Some(Arc::new(Lab::create(&prefix)?)) };
        let store = Store::start_new(lab.as_ref(), workdir.path(), spec)?;
        let members: anyhow::Result<Vec<Member>> = (0..u8::try_from(spec.members)?)
            .map(|i| Member::create(spec, lab.as_ref(), workdir.path(), &jogi, &store, i))
            .collect();
        let ctl_template = spec.ctl.clone().unwrap_or_else(|| format!("{} ctl -c {{config}}", jogi.display()));
        Ok(Herd { members: members?, store, ctl_template, jogi, prefix, janitor, workdir })
    }

    /// Starts the first member, waits until it leads, starts the others, waits until all replicate.
    #[track_caller]
    pub fn start(&self) {
        self.members[0].start_agent();
        wait::until("the first member leads", START_WITHIN, || self.members[0].is_primary());
        for member in &self.members[1..] {
            member.start_agent();
        }
        self.wait_healthy();
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    #[track_caller]
    pub fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// All members but this one.
    pub fn others(&self, name: &str) -> Vec<&Member> {
        self.members.iter().filter(|m| m.name != name).collect()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A freezer that all processes of the member's host are in. It must be dropped before the herd.
    #[track_caller]
    pub fn freezer_of(&self, member: &Member) -> Freezer {
        let name = format!("{}-{}", self.prefix, member.name);
        let freezer = Freezer::create(&name).unwrap_or_else(|e| panic!("a freezer for {}: {e}", member.name));
        wait::until("all of the host is in the freezer", FOUND_WITHIN, || {
            let inside = freezer.processes();
            let outside: Vec<i32> = member.processes().into_iter().filter(|p| !inside.contains(p)).collect();
            freezer.take_in(&outside).unwrap_or_else(|e| panic!("taking {outside:?} in: {e}"));
            outside.is_empty()
        });
        freezer
    }

    /// A directory for files of the test, which PostgreSQL's user may enter.
    pub fn workdir(&self) -> &Path {
        self.workdir.path()
    }

    /// The binary under test, where everybody may execute it.
    pub fn jogi(&self) -> &Path {
        &self.jogi
    }

    fn ctl_words(&self, member: &Member) -> Vec<String> {
        spec::words(&self.ctl_template, &member.config_path())
    }

    /// The member that answers as primary now.
    pub fn leader(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.is_primary())
    }

    /// The member that holds the lock by the store's word, whether it answers or not.
    pub fn lock_holder(&self) -> Option<String> {
        self.key("leader")
    }

    /// The value of a key of the cluster: `herd.key("leader")`.
    pub fn key(&self, relative: &str) -> Option<String> {
        self.store.value(&format!("{BASE}{relative}"))
    }

    /// The changes of the cluster's keys after a revision, their names relative.
    pub fn changes_after(&self, revision: i64) -> Vec<Change> {
        let mut changes = self.store.history(BASE, revision + 1);
        changes.iter_mut().for_each(|c| c.key = c.key.trim_start_matches(BASE).to_owned());
        changes
    }

    /// What one key became after a revision, in order; `None` where it went.
    pub fn values_after(&self, revision: i64, key: &str) -> Vec<Option<String>> {
        self.changes_after(revision).into_iter().filter(|c| c.key == key).map(|c| c.value).collect()
    }

    /// The time to live of the lock, by the cluster's configuration.
    #[track_caller]
    pub fn ttl(&self) -> Duration {
        let config = self.key("config").unwrap_or_else(|| panic!("the cluster has no configuration"));
        let config: Value = serde_json::from_str(&config).unwrap_or(Value::Null);
        Duration::from_secs(config["ttl"].as_u64().unwrap_or(30))
    }

    #[track_caller]
    pub fn wait_leader(&self) -> &Member {
        wait::value("a leader", CHANGE_WITHIN, || self.leader())
    }

    /// Waits until another member than `old` answers as primary and accepts writes.
    #[track_caller]
    pub fn wait_new_leader(&self, old: &str) -> &Member {
        wait::value(&format!("a new leader after {old}"), CHANGE_WITHIN, || {
            self.others(old).into_iter().find(|m| m.is_primary() && m.is_writable())
        })
    }

    /// Waits until one member leads and all others stream from it, on one timeline.
    #[track_caller]
    pub fn wait_healthy(&self) {
        let mut seen = String::new();
        let healthy = wait::poll(CHANGE_WITHIN, || match self.ailment() {
            None => Some(()),
            Some(ailment) => {
                seen = ailment;
                None
            }
        });
        assert!(healthy.is_some(), "the herd was not healthy within {CHANGE_WITHIN:?}: {seen}");
    }

    /// What the herd lacks to be healthy.
    fn ailment(&self) -> Option<String> {
        let leaders: Vec<&Member> = self.members.iter().filter(|m| m.is_primary()).collect();
        let [leader] = leaders[..] else {
            return Some(format!("{} members answer as primary", leaders.len()));
        };
        let replicas = self.others(&leader.name);
        if let Some(ill) = replicas.iter().find(|m| m.get("/replica?lag=1MB").status != 200) {
            return Some(format!("{} is no replica with small lag: {}", ill.name, ill.get("/replica").body));
        }
        let timeline = &leader.status()["timeline"];
        for replica in replicas {
            let status = replica.status();
            if status["replication_state"] != "streaming" || status["timeline"] != *timeline {
                return Some(format!("{} does not stream on timeline {timeline}: {status}", replica.name));
            }
        }
        None
    }

    /// Waits until every reachable standby of `primary` has replayed all that is flushed there now.
    #[track_caller]
    pub fn wait_replayed(&self, primary: &Member) {
        let lsn = primary.sql_text("SELECT pg_current_wal_lsn()");
        let sql = format!("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= '{lsn}'");
        let standbys = primary.sql_text("SELECT count(*) FROM pg_stat_replication");
        wait::until("all is replayed", CHANGE_WITHIN, || primary.sql_text(&sql) == standbys);
    }

    /// Starts a writer per member, on a table that all members have, and waits until rows flow.
    #[track_caller]
    pub fn start_writers(&self) -> Writers {
        self.make_table();
        let writers = Writers::start(self);
        writers.wait_rows(30, CHANGE_WITHIN);
        writers
    }

    /// A client of the leader with a single session; rows flow when this returns.
    #[track_caller]
    pub fn keep_session(&self, member: &Member) -> KeptSession {
        self.make_table();
        let kept = KeptSession::start(member);
        kept.wait_rows(10, CHANGE_WITHIN);
        kept
    }

    #[track_caller]
    fn make_table(&self) {
        let leader = self.wait_leader();
        leader
            .sql("CREATE TABLE IF NOT EXISTS acks (writer text, seq bigint, at timestamptz DEFAULT clock_timestamp())");
        self.wait_replayed(leader);
    }

    /// The acknowledged rows that the leader does not have.
    #[track_caller]
    pub fn lost_rows(&self, journal: &Journal) -> usize {
        let acks = journal.all();
        assert!(!acks.is_empty(), "no row was ever acknowledged");
        let missing = writer::missing(self.wait_leader(), &acks);
        for (writer, rows) in &missing {
            eprintln!(
                "lost: {} rows that {writer} had acknowledged, {:?} to {:?}",
                rows.len(),
                rows.first(),
                rows.last()
            );
        }
        missing.values().map(|rows| rows.len()).sum()
    }

    /// Checks that every acknowledged row is there.
    #[track_caller]
    pub fn assert_nothing_lost(&self, journal: &Journal) {
        let lost = self.lost_rows(journal);
        assert_eq!(lost, 0, "acknowledged rows are gone ({} were acknowledged)", journal.all().len());
    }

    /// Checks that since `since` no member acknowledged a row sent after another than `old` had begun to.
    #[track_caller]
    pub fn assert_never_two(&self, journal: &Journal, old: &str, since: Instant) {
        let overlap = overlap(&journal.since(since), old);
        assert_eq!(overlap, Duration::ZERO, "{old} and its successor both acknowledged writes for {overlap:?}");
    }

    fn print_logs(&self) {
        for member in &self.members {
            print_tail(&member.name, &member.log());
        }
        print_tail("store", &self.store.log());
    }

    /// Never panics: it runs while a test's panic unwinds.
    fn kill_everything(&self) {
        let member_pids = self.members.iter().flat_map(|m| m.note_processes());
        for pid in member_pids.chain(self.store.processes()).collect::<Vec<_>>() {
            process::send(pid, process::Signal::KILL);
        }
        for member in &self.members {
            if !member.kill_everything() {
                eprintln!("still running on {}: {:?}", member.name, member.processes());
            }
            member.remove_shared_memory();
        }
        if !self.store.kill_everything() {
            eprintln!("still running on the store's host: {:?}", self.store.processes());
        }
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        if thread::panicking() {
            self.print_logs();
            if std::env::var_os(KEEP).is_some() {
                self.workdir.disable_cleanup(true);
                eprintln!("kept: {}", self.workdir.path().display());
            }
        }
        self.kill_everything();
        self.janitor.dismiss();
    }
}

/// What our own writers are refused fills the log of a standby with thousands of lines, and says nothing.
const NOISE: [&str; 2] = ["cannot execute INSERT in a read-only transaction", "STATEMENT:  INSERT INTO acks "];

fn print_tail(name: &str, log: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| !NOISE.iter().any(|noise| line.contains(noise))).collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    eprintln!("----- the last {} lines of {} from {name} -----", lines.len() - from, lines.len());
    for line in &lines[from..] {
        eprintln!("{line}");
    }
}

/// Puts the binary where every user may enter and execute it: a link where possible, else a copy.
fn executable_by_all(binary: &Path, workdir: &Path) -> anyhow::Result<PathBuf> {
    let to = workdir.join("jogi");
    if fs::hard_link(binary, &to).is_err() {
        fs::copy(binary, &to)?;
    }
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(to)
}
