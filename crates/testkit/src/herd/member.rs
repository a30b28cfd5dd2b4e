//! One member: a host with an agent and its PostgreSQL, and what can be asked of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::place::{self, Lab, Place};
use super::spec::{HerdSpec, merge, words};
use super::{SCOPE, Store};
use crate::http::{self, Reply};
use crate::sql::{self, Door, Login, Row, Session, SqlError};
use crate::{process, require, wait};

/// A query of a test is small; longer means that the server hangs.
const QUERY_WITHIN: Duration = Duration::from_secs(20);

/// Longer than the 2 s for which an agent may wait for its server before it answers.
const REST_WITHIN: Duration = Duration::from_secs(8);

/// Passwords of the herd's users: seen by nobody but the tests.
pub const PASSWORD: &str = "kept-in-a-herd";

/// One member of the herd.
pub struct Member {
    pub name: String,
    pub(super) place: Place,
    pub(super) dir: PathBuf,
    bin_dir: PathBuf,
    command: Mutex<Vec<String>>,
    env: Vec<(String, String)>,
    pg_port: u16,
    rest_port: u16,
    /// Where the way to the others is probed.
    pub(super) store: SocketAddr,
    agent: Mutex<Option<Child>>,
    /// Shared memory that killed servers may have left behind.
    pub(super) leftover: Mutex<BTreeSet<PathBuf>>,
}

impl Member {
    pub(super) fn create(
        spec: &HerdSpec,
        lab: Option<&Arc<Lab>>,
        workdir: &Path,
        jogi: &Path,
        store: &Store,
        index: u8,
    ) -> anyhow::Result<Member> {
        let name = format!("n{}", index + 1);
        let dir = workdir.join(&name);
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let place = Place::create(lab, &name, place::FIRST_MEMBER + index, &dir)?;
        let bin_dir = require::postgres_bin().ok_or_else(|| anyhow::anyhow!("no PostgreSQL server programs"))?;
        let chosen = spec.member_agent.get(&name).or(spec.agent.as_ref()).cloned();
        let template = chosen.unwrap_or_else(|| format!("{} agent {{config}}", jogi.display()));
        let mut env = vec![
            ("HOME".to_owned(), dir.display().to_string()),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
            ("RUST_BACKTRACE".to_owned(), "1".to_owned()),
        ];
        env.extend(spec.env.iter().cloned());
        let member = Member {
            pg_port: place.port(5432)?,
            rest_port: place.port(8008)?,
            command: Mutex::new(words(&template, &dir.join("agent.yml"))),
            store: store.front(),
            agent: Mutex::new(None),
            leftover: Mutex::default(),
            name,
            place,
            bin_dir,
            env,
            dir,
        };
        let mut config = member.first_config(spec);
        merge(&mut config, spec.config.clone());
        merge(&mut config, spec.member_config.get(&member.name).cloned().unwrap_or(json!({})));
        member.write_config(&config);
        member.give_to_postgres(&member.dir);
        Ok(member)
    }

    fn first_config(&self, spec: &HerdSpec) -> Value {
        let (any, ip) = (self.place.any_ip(), self.place.ip());
        let user = |name: &str| json!({"username": name, "password": PASSWORD});
        json!({
            "scope": SCOPE,
            "name": self.name,
            "restapi": {
                "listen": format!("{any}:{}", self.rest_port),
                "connect_address": format!("{ip}:{}", self.rest_port),
            },
            "etcd3": {"host": self.store.to_string()},
            "bootstrap": {"dcs": spec.dcs, "initdb": [{"encoding": "UTF8"}, "data-checksums"]},
            "postgresql": {
                "listen": format!("{any}:{}", self.pg_port),
                "connect_address": format!("{ip}:{}", self.pg_port),
                "data_dir": self.data_dir(),
                "bin_dir": self.bin_dir,
                "pgpass": self.dir.join("pgpass"),
                "authentication": {
                    "superuser": user("postgres"), "replication": user("replicator"), "rewind": user("rewinder"),
                },
                // Nothing here outlives a crash of the machine, and tests share it: no time for fsync.
                "parameters": {
                    "unix_socket_directories": self.dir, "shared_buffers": "32MB", "fsync": "off",
                    "log_line_prefix": "%m [%p] ",
                },
                "pg_hba": [
                    "local all all trust", "host replication replicator all md5", "host all all all md5",
                ],
                "use_unix_socket": true,
            },
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Of PostgreSQL: 10 to 18. The file in the data directory says it.
    ///
    /// # Panics
    /// Without a data directory.
    #[track_caller]
    pub fn major_version(&self) -> u32 {
        let file = self.data_dir().join("PG_VERSION");
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        text.trim().parse().unwrap_or_else(|_| panic!("{} holds {text:?}", file.display()))
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.join("agent.yml")
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// The member's configuration as it lies in its file.
    pub fn read_config(&self) -> Value {
        let text =
            fs::read_to_string(self.config_path()).unwrap_or_else(|e| panic!("configuration of {}: {e}", self.name));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("configuration of {}: {e}", self.name))
    }

    /// Writes the file; JSON is YAML.
    pub fn write_config(&self, config: &Value) {
        self.write_config_text(&format!("{config:#}\n"));
    }

    pub fn write_config_text(&self, text: &str) {
        let path = self.config_path();
        fs::write(&path, text).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
        self.give_to_postgres(&path);
    }

    /// Lays `over` over the file. The agent reads it at its next start or SIGHUP.
    pub fn change_config(&self, over: Value) {
        let mut config = self.read_config();
        merge(&mut config, over);
        self.write_config(&config);
    }

    /// Makes a file or directory, not what is below it, the property of PostgreSQL's user.
    pub fn give_to_postgres(&self, path: &Path) {
        if let Some((uid, gid)) = postgres_ids() {
            chown(path, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("chown of {}: {e}", path.display()));
        }
    }

    // --- the agent's process ---------------------------------------------------------------------------------------

    fn agent(&self) -> MutexGuard<'_, Option<Child>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> Vec<String> {
        self.command.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another program is the agent from its next start on: a template, as in [`HerdSpec::member_agent`].
    pub fn change_agent(&self, template: &str) {
        *self.command.lock().unwrap_or_else(PoisonError::into_inner) = words(template, &self.config_path());
    }

    /// Starts the agent; waits for nothing.
    pub fn start_agent(&self) {
        self.start_agent_with(&[]);
    }

    /// Starts the agent with variables of its own beside the herd's.
    pub fn start_agent_with(&self, env: &[(&str, &str)]) {
        self.reap();
        let env: Vec<(String, String)> =
            self.env.iter().cloned().chain(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).collect();
        let started = self.place.spawn(&self.command(), true, &env, &self.log_path());
        *self.agent() = Some(started.unwrap_or_else(|e| panic!("starting the agent of {}: {e}", self.name)));
    }

    /// Starts a second agent beside the first, with the same command but another file. Its output goes to `log`.
    pub fn start_other_agent(&self, config: &Path, log: &Path) -> Child {
        let own = self.config_path().to_string_lossy().into_owned();
        let other = config.to_string_lossy();
        let words: Vec<String> = self.command().iter().map(|w| w.replace(&own, &other)).collect();
        let started = self.place.spawn(&words, true, &self.env, log);
        started.unwrap_or_else(|e| panic!("starting another agent on {}: {e}", self.name))
    }

    /// The agent that was started last.
    ///
    /// # Panics
    /// When none was, or its end was already seen.
    pub fn agent_pid(&self) -> i32 {
        let id = self.agent().as_ref().map(Child::id);
        id.and_then(|id| i32::try_from(id).ok()).unwrap_or_else(|| panic!("{} has no agent", self.name))
    }

    pub fn agent_runs(&self) -> bool {
        self.agent().as_ref().and_then(|c| i32::try_from(c.id()).ok()).is_some_and(process::alive)
    }

    /// Waits for the agent's end.
    #[track_caller]
    pub fn agent_exit(&self, within: Duration) -> ExitStatus {
        wait::value(&format!("the end of {}'s agent", self.name), within, || {
            self.agent().as_mut().and_then(|child| child.try_wait().ok().flatten())
        })
    }

    pub(super) fn reap(&self) {
        if let Some(mut child) = self.agent().take_if(|c| i32::try_from(c.id()).is_ok_and(|pid| !process::alive(pid))) {
            // It is dead; an error means that it is reaped already.
            let _ = child.wait();
        }
    }

    /// Runs `work` as if on this host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.place.run(work)
    }

    /// Everything that runs on the host.
    pub fn processes(&self) -> Vec<i32> {
        self.place.processes()
    }

    /// The postmaster, if the one of the lock file is alive and works in the data directory.
    pub fn postmaster(&self) -> Option<i32> {
        let lock = fs::read_to_string(self.data_dir().join("postmaster.pid")).ok()?;
        let pid = lock.lines().next()?.trim().parse::<i32>().ok()?.abs();
        (process::alive(pid) && process::cwd(pid)? == self.data_dir()).then_some(pid)
    }

    /// The postmaster.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn postmaster_pid(&self) -> i32 {
        self.postmaster().unwrap_or_else(|| panic!("no postmaster runs on {}", self.name))
    }

    /// Every process that works in the data directory: PostgreSQL's, whatever became of their postmaster.
    pub fn server_processes(&self) -> Vec<i32> {
        process::working_below(&self.data_dir())
    }

    /// Every process of the host that is neither the postmaster nor below it: the agent, its guard and helpers.
    pub fn agent_tree(&self) -> Vec<i32> {
        let servers = self.postmaster().map(process::tree).unwrap_or_default();
        let data = self.data_dir();
        let of_server = |p: &i32| servers.contains(p) || process::cwd(*p).is_some_and(|c| c.starts_with(&data));
        self.processes().into_iter().filter(|p| !of_server(p)).collect()
    }

    // --- REST ------------------------------------------------------------------------------------------------------

    /// Where its agent answers, seen from its own host.
    pub fn rest(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.rest_port))
    }

    /// Asks this member's agent, from its own host: a cut link is no hindrance.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>, within: Duration) -> Reply {
        let to = self.rest();
        let body = body.map(Value::to_string);
        self.place.run(|| http::request(to, method, path, body.as_deref(), within))
    }

    /// The same with a body that need not be JSON.
    pub fn request_text(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let to = self.rest();
        self.place.run(|| http::request(to, method, path, body, REST_WITHIN))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, None, REST_WITHIN)
    }

    /// Posts; a switchover's answer may take as long as the switchover.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path, Some(body), super::CHANGE_WITHIN)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Reply {
        self.request("PATCH", path, Some(body), REST_WITHIN)
    }

    /// The status document; `null` when there is no answer.
    pub fn status(&self) -> Value {
        self.get("/patroni").json()
    }

    pub fn is_primary(&self) -> bool {
        self.get("/primary").status == 200
    }

    pub fn is_replica(&self) -> bool {
        self.get("/replica").status == 200
    }

    // --- SQL -------------------------------------------------------------------------------------------------------

    /// The way in that needs no network.
    pub fn socket(&self) -> Door {
        sql::socket(&self.dir, self.pg_port)
    }

    /// The way in that clients take.
    pub fn client_door(&self) -> Door {
        sql::tcp(self.place.client_ip(), self.pg_port)
    }

    /// A session as superuser through the socket.
    pub fn try_session(&self) -> Result<Session, SqlError> {
        Session::open(&self.socket(), &superuser("jogi test"), QUERY_WITHIN)
    }

    /// A session as superuser that comes from where the clients are and calls itself `application`.
    pub fn client_session(&self, application: &str) -> Result<Session, SqlError> {
        let connect = || {
            self.place.enter_clients().map_err(|e| SqlError { code: None, text: e.to_string() })?;
            Session::open(&self.client_door(), &superuser(application), QUERY_WITHIN)
        };
        std::thread::scope(|s| s.spawn(connect).join())
            .unwrap_or_else(|_| panic!("connecting to {} panicked", self.name))
    }

    pub fn try_sql(&self, sql: &str) -> Result<Vec<Row>, SqlError> {
        self.try_session()?.run(sql, QUERY_WITHIN)
    }

    /// Runs SQL as superuser through the socket.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Vec<Row> {
        self.try_sql(sql).unwrap_or_else(|e| panic!("on {}: {sql}: {e}", self.name))
    }

    /// The first column of the first row; empty when null.
    #[track_caller]
    pub fn sql_text(&self, sql: &str) -> String {
        let rows = self.sql(sql);
        let first = rows.first().unwrap_or_else(|| panic!("on {}: {sql}: no row", self.name));
        first.first().cloned().flatten().unwrap_or_default()
    }

    /// Tells apart a data directory that was changed in place from one that was made anew: `PG_VERSION` is never rewritten.
    #[track_caller]
    pub fn data_directory_identity(&self) -> u64 {
        let file = self.data_dir().join("PG_VERSION");
        fs::metadata(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).ino()
    }

    /// Whether the server accepts writes: a fact about PostgreSQL, whatever the agent says.
    pub fn is_writable(&self) -> bool {
        self.try_sql("SELECT pg_is_in_recovery()").is_ok_and(|rows| rows == [[Some("f".to_owned())]])
    }

    /// Runs one of PostgreSQL's programs on this host as PostgreSQL's user and returns what it printed.
    #[track_caller]
    pub fn server_program(&self, program: &str, args: &[&str]) -> String {
        let mut command = require::as_server_user();
        command.arg(self.bin_dir.join(program)).args(args).current_dir(&self.dir);
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        // pg_ctl's server keeps its standard output: it must be no pipe of ours.
        let said = self.dir.join("program.log");
        let file = || fs::File::create(&said).unwrap_or_else(|e| panic!("creating {}: {e}", said.display()));
        command.stdin(std::process::Stdio::null()).stdout(file()).stderr(std::process::Stdio::inherit());
        let status = self.place.run(move || command.status());
        let status = status.unwrap_or_else(|e| panic!("running {program}: {e}"));
        let out = fs::read_to_string(&said).unwrap_or_default();
        assert!(status.success(), "on {}: {program} {args:?}: {status}\n{out}", self.name);
        out
    }

    /// Starts PostgreSQL as an operator or an init script would, behind the agent's back, as it was started last.
    #[track_caller]
    pub fn start_server_by_hand(&self) {
        let file = self.data_dir().join("postmaster.opts");
        let started = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let options = started.trim().split_once(' ').map_or("", |(_, options)| options);
        let log = self.dir.join("by-hand.log");
        let (data, log) = (self.data_dir().display().to_string(), log.display().to_string());
        self.server_program("pg_ctl", &["start", "-w", "-D", &data, "-l", &log, "-o", options]);
    }

    /// A line of `pg_controldata`: `control("Database cluster state")`.
    #[track_caller]
    pub fn control(&self, line: &str) -> String {
        let out = self.server_program("pg_controldata", &["-D", &self.data_dir().to_string_lossy()]);
        let value = out.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        value.map(|v| v.trim().to_owned()).unwrap_or_else(|| panic!("no {line:?} in:\n{out}"))
    }

    /// The cluster identity in the data directory.
    #[track_caller]
    pub fn system_identifier(&self) -> String {
        self.control("Database system identifier")
    }

    // --- the log ---------------------------------------------------------------------------------------------------

    /// Waits until something is said in the log after `mark`.
    #[track_caller]
    pub fn wait_log(&self, mark: usize, text: &str, within: Duration) {
        wait::until(&format!("`{text}` in the log of {}", self.name), within, || self.log_since(mark).contains(text));
    }

    /// What agent and PostgreSQL have written so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A mark to read the log from, for [`Member::log_since`].
    pub fn log_mark(&self) -> usize {
        fs::metadata(self.log_path()).map_or(0, |m| usize::try_from(m.len()).unwrap_or(usize::MAX))
    }

    pub fn log_since(&self, mark: usize) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(mark..).unwrap_or_default()).into_owned()
    }
}

/// Who the tests are to PostgreSQL.
pub fn superuser(application: &str) -> Login {
    Login { user: "postgres".to_owned(), password: PASSWORD.to_owned(), application: application.to_owned() }
}

/// User and group that PostgreSQL runs as, when the tests run as root.
fn postgres_ids() -> Option<(u32, u32)> {
    if !require::am_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users.lines().find(|l| l.starts_with("postgres:"))?.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
