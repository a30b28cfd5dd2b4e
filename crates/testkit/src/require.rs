//! What a test needs of its machine. One that cannot run says why, and fails where `CI=true`.

use std::env;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug)]
pub enum Need {
    Root,
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
            Need::Root => (!am_root()).then(|| "it needs root (for network namespaces and another user)".to_owned()),
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
    eprintln!("SKIPPED: this test did not run: {why}");
    false
}

pub fn am_root() -> bool {
    rustix::process::geteuid().is_root()
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
