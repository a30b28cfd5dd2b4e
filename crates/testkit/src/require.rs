//! What a test needs of its machine. One that cannot run says why, and fails where `CI=true`.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// The machine's own root, for what no user namespace gives (control groups, …).
    Root,
    /// Network namespaces of one's own: root has them, and so has an ordinary user inside the user namespace that
    /// `scripts/test.sh` enters.
    Networks,
    /// A program on the path.
    Program(&'static str),
    /// PostgreSQL's server programs.
    PostgreSql,
    /// The operating system's user that PostgreSQL runs as when the tests run as root.
    PostgresUser,
}

impl Need {
    fn missing(self) -> Option<String> {
        match self {
            Need::Root => (!am_root()).then(|| "it needs root".to_owned()),
            Need::Networks => (!may_make_networks()).then(|| {
                "it makes network namespaces, which takes root, or a user namespace: `make test` enters one where the \
                 machine allows it"
                    .to_owned()
            }),
            Need::Program(name) => program(name).is_none().then(|| format!("there is no `{name}` on the path")),
            Need::PostgreSql => postgres_bin().is_none().then(|| {
                "there are no PostgreSQL server programs (looked at JOGI_TEST_PG_BIN, /usr/lib/postgresql/*/bin, the path)"
                    .to_owned()
            }),
            Need::PostgresUser => (am_root() && !user_exists("postgres"))
                .then(|| "there is no user `postgres`, and PostgreSQL refuses to run as root".to_owned()),
        }
    }
}

/// Whether the machine has all of it. If not, prints why the test does not run.
///
/// # Panics
/// Under `CI=true`, where a test that does not run is a failure.
#[must_use]
pub fn can(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|n| n.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let why = missing.join("; ");
    assert!(env::var("CI").as_deref() != Ok("true"), "this test cannot run, and CI=true demands it: {why}");
    did_not_run(&why);
    false
}

/// Says that a test did not run, here and at the end of `make test`. For what [`can`] cannot ask.
pub fn did_not_run(why: &str) {
    eprintln!("SKIPPED: this test did not run: {why}");
    note_skipped(why);
}

/// For the end of `make test`: a runner shows nothing of a test that passes, and this one has not run.
fn note_skipped(why: &str) {
    let Some(file) = env::var_os("JOGI_TEST_SKIPPED") else { return };
    let program = env::current_exe().ok().and_then(|exe| Some(exe.file_stem()?.to_string_lossy().into_owned()));
    let program = program.unwrap_or_default();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{} {test}: {why}\n", program.rsplit_once('-').map_or(program.as_str(), |(name, _)| name));
    let open = std::fs::OpenOptions::new().append(true).open(file);
    // One write of one line: tests of other processes write there too.
    if let Err(error) = open.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("the list of tests that did not run could not be written: {error}");
    }
}

/// Whether this process has the power to make networks (`CAP_NET_ADMIN`, `CAP_SYS_ADMIN`).
fn may_make_networks() -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let powers = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    powers & NET_ADMIN != 0 && powers & SYS_ADMIN != 0
}

pub fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs the words it is then given as PostgreSQL's user: `postgres` where we are root, else ourselves,
/// without the powers that the user namespace of `scripts/test.sh` gives.
pub fn as_server_user() -> Command {
    let mut command = Command::new("setpriv");
    if am_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.args(["--inh-caps=-all", "--ambient-caps=-all"]);
    command
}

/// Where a program lies.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// PostgreSQL's server programs: `JOGI_TEST_PG_BIN`, else the newest of Debian's, else beside `postgres` on the path.
pub fn postgres_bin() -> Option<PathBuf> {
    if let Some(chosen) = env::var_os("JOGI_TEST_PG_BIN") {
        let chosen = PathBuf::from(chosen);
        return has_server(&chosen).then_some(chosen);
    }
    let mut majors: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .filter(|(_, bin)| has_server(bin))
        .collect();
    majors.sort();
    majors.pop().map(|(_, bin)| bin).or_else(|| program("postgres")?.parent().map(Path::to_owned))
}

fn has_server(bin: &Path) -> bool {
    ["postgres", "initdb", "pg_basebackup", "pg_rewind"].iter().all(|p| bin.join(p).is_file())
}

fn user_exists(name: &str) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| line.split(':').next() == Some(name))
}
