//! Where everything of a herd lies, on which ports, with which passwords; and the members' configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::account::Account;

/// The herd on disk and on the loopback.
#[derive(Clone, Debug)]
pub struct Layout {
    pub dir: PathBuf,
    pub members: u16,
    pub port: u16,
    pub pg_bin: PathBuf,
}

/// More would run out of the ports that a herd has.
pub const MOST_MEMBERS: u16 = 9;

/// The name of the cluster.
pub const SCOPE: &str = "herd";

impl Layout {
    pub fn name(&self, member: u16) -> String {
        format!("member-{member}")
    }

    pub fn pg_port(&self, member: u16) -> u16 {
        self.port + member - 1
    }

    pub fn rest_port(&self, member: u16) -> u16 {
        self.port + 50 + member - 1
    }

    pub fn store_port(&self) -> u16 {
        self.port + 90
    }

    pub fn store_peer_port(&self) -> u16 {
        self.port + 91
    }

    pub fn member_dir(&self, member: u16) -> PathBuf {
        self.dir.join(self.name(member))
    }

    pub fn config_file(&self, member: u16) -> PathBuf {
        self.member_dir(member).join("jogi.yml")
    }

    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn log_file(&self, of: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{of}.log"))
    }

    /// Our own program, where the herd's account may execute it.
    pub fn program(&self) -> PathBuf {
        self.dir.join("bin").join("jogi")
    }

    pub fn passwords_file(&self) -> PathBuf {
        self.dir.join("passwords.json")
    }

    /// For psql: `PGPASSFILE`.
    pub fn passfile(&self) -> PathBuf {
        self.dir.join("pgpass")
    }

    /// How many members have a folder here, of this run or of earlier ones.
    pub fn members_there(&self) -> u16 {
        (1..=MOST_MEMBERS).rev().find(|m| self.member_dir(*m).exists()).unwrap_or(0)
    }

    /// Makes the herd's folder ours alone, as long as the returned file is open. A folder in which something else lies is
    /// refused before it is touched: it would be closed to everybody but the herd's account.
    pub fn claim(&self, account: &Account) -> anyhow::Result<File> {
        let cannot = || format!("cannot use {}: choose a place that you may write to with --dir", self.dir.display());
        std::fs::create_dir_all(&self.dir).with_context(cannot)?;
        let empty = std::fs::read_dir(&self.dir).with_context(cannot)?.next().is_none();
        let lock = self.dir.join("lock");
        if !empty && !lock.exists() && !self.passwords_file().exists() {
            bail!("{} is not empty and holds no herd: choose an empty or a new folder with --dir", self.dir.display());
        }
        account.private_dir(&self.dir)?;
        // No link that the herd's account may have put there: we may be root.
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&lock).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                bail!(
                    "a herd runs in {} already: end it first, or choose another folder with --dir",
                    self.dir.display()
                )
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(cannot),
        }
    }

    /// Makes every folder and file; an existing herd keeps its passwords.
    pub fn prepare(&self, account: &Account) -> anyhow::Result<()> {
        for folder in ["logs", "bin"] {
            account.private_dir(&self.dir.join(folder))?;
        }
        account.private_dir(&self.store_dir())?;
        let passwords = self.passwords(account)?;
        let superuser = passwords.get("superuser").map_or("", String::as_str);
        account.private_file(&self.passfile(), &format!("*:*:*:postgres:{superuser}\n"))?;
        for member in 1..=self.members {
            account.private_dir(&self.member_dir(member))?;
            let config = serde_json::to_string_pretty(&self.config(member, &passwords))?;
            let text = format!("# Written by `jogi up`; JSON is YAML.\n{config}\n");
            account.private_file(&self.config_file(member), &text)?;
        }
        self.install_program(account)
    }

    fn passwords(&self, account: &Account) -> anyhow::Result<BTreeMap<String, String>> {
        let path = self.passwords_file();
        if path.exists() {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return serde_json::from_str(&text).with_context(|| {
                format!("{} is damaged: restore it, or remove the whole herd to begin anew", path.display())
            });
        }
        let users = ["superuser", "replication", "rewind"];
        let mut passwords = BTreeMap::new();
        for user in users {
            passwords.insert(user.to_owned(), password()?);
        }
        account.private_file(&path, &serde_json::to_string_pretty(&passwords)?)?;
        Ok(passwords)
    }

    /// Copied, because a build may lie where the account cannot go (root's home), and because a guard that
    /// runs must not have its program overwritten by the next build.
    fn install_program(&self, account: &Account) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let ours = std::env::current_exe().context("cannot find our own program")?;
        let target = self.program();
        let fresh = target.with_extension("new");
        std::fs::copy(&ours, &fresh)
            .with_context(|| format!("cannot copy {} to {}", ours.display(), fresh.display()))?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
        account.own(&fresh)?;
        std::fs::rename(&fresh, &target)?;
        Ok(())
    }

    fn config(&self, member: u16, passwords: &BTreeMap<String, String>) -> Value {
        let rest = format!("127.0.0.1:{}", self.rest_port(member));
        let server = format!("127.0.0.1:{}", self.pg_port(member));
        let dir = self.member_dir(member);
        let user = |role: &str, name: &str| json!({"username": name, "password": passwords.get(role)});
        json!({
            "scope": SCOPE,
            "name": self.name(member),
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": format!("127.0.0.1:{}", self.store_port())},
            "bootstrap": {
                "dcs": {
                    "ttl": 5, "loop_wait": 2, "retry_timeout": 2, "maximum_lag_on_failover": 1048576,
                    "postgresql": {"use_pg_rewind": true, "parameters": {"wal_log_hints": "on"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": server,
                "connect_address": server,
                "data_dir": dir.join("data"),
                "bin_dir": self.pg_bin,
                "pgpass": dir.join("pgpass"),
                "use_unix_socket": true,
                "authentication": {
                    "superuser": user("superuser", "postgres"),
                    "replication": user("replication", "replicator"),
                    "rewind": user("rewind", "rewind_user"),
                },
                "parameters": {
                    "unix_socket_directories": dir,
                    "password_encryption": "scram-sha-256",
                    "log_line_prefix": "%m [%p] ",
                },
                "pg_hba": [
                    "local all all scram-sha-256",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                    "host all all 127.0.0.1/32 scram-sha-256",
                ],
            },
        })
    }
}

/// 128 random bits in hexadecimal.
fn password() -> anyhow::Result<String> {
    use std::io::Read;
    let mut bytes = [0u8; 16];
    let mut random = std::fs::File::open("/dev/urandom").context("no source of random numbers")?;
    random.read_exact(&mut bytes).context("no source of random numbers")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The folder with PostgreSQL's server programs: the given one, or the newest found.
pub fn find_pg_bin(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let whole = |dir: &Path| ["postgres", "initdb", "pg_basebackup", "pg_rewind"].iter().all(|p| dir.join(p).exists());
    if let Some(dir) = given {
        let dir = std::path::absolute(dir)?;
        if whole(&dir) {
            return Ok(dir);
        }
        bail!(
            "{} does not hold PostgreSQL's server programs (postgres, initdb, pg_basebackup, pg_rewind)",
            dir.display()
        );
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (base, tail) in [("/usr/lib/postgresql", "bin"), ("/usr", "bin")] {
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = name.trim_start_matches("pgsql-").parse::<u32>();
            let dir = entry.path().join(tail);
            if let Ok(version) = version
                && whole(&dir)
            {
                found.push((version, dir));
            }
        }
    }
    let on_path = || std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).find(|dir| whole(dir));
    match found.into_iter().max().map(|(_, dir)| dir).or_else(on_path) {
        Some(dir) => Ok(dir),
        None => bail!(
            "no PostgreSQL server programs found: install them (apt-get install postgresql), or say where they are \
             with --pg-bin"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned(), members: 9, port: 5532, pg_bin: "/usr/lib/postgresql/15/bin".into() }
    }

    #[test]
    fn no_two_things_share_a_port() {
        let l = layout(Path::new("/x"));
        let mut ports: Vec<u16> = (1..=9).flat_map(|m| [l.pg_port(m), l.rest_port(m)]).collect();
        ports.extend([l.store_port(), l.store_peer_port()]);
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }

    /// All is on the loopback, and no Patroni member will ever join.
    fn expected(warning: &str) -> bool {
        warning.contains("127.0.0.1") || warning.contains("members that run Patroni")
    }

    #[test]
    fn every_member_gets_a_configuration_that_loads_without_a_word() {
        let l = layout(Path::new("/x"));
        let passwords = ["superuser", "replication", "rewind"].map(|u| (u.to_owned(), "secret".to_owned())).into();
        let text = l.config(2, &passwords).to_string();
        let loaded = jogi_config::Local::load(&[("jogi.yml".into(), text)], &BTreeMap::new()).expect("it loads");
        let odd: Vec<&String> = loaded.warnings.iter().filter(|w| !expected(w)).collect();
        assert!(odd.is_empty(), "{odd:?}");
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused_untouched() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let letters = dir.path().join("letters");
        std::fs::create_dir(&letters).expect("made");
        std::fs::write(letters.join("to-anna.txt"), "Dear Anna").expect("written");
        std::fs::set_permissions(&letters, std::fs::Permissions::from_mode(0o755)).expect("open to all");
        let account = Account::ourselves();
        let error = layout(&letters).claim(&account).expect_err("no herd is made among letters");
        assert!(error.to_string().contains("is not empty and holds no herd"), "{error:#}");
        let mode = std::fs::metadata(&letters).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(std::fs::read_dir(&letters).expect("readable").count(), 1);
    }

    #[test]
    fn one_herd_at_a_time_has_a_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let l = layout(&dir.path().join("herd"));
        let account = Account::ourselves();
        let first = l.claim(&account).expect("a new folder");
        let error = l.claim(&account).expect_err("taken");
        assert!(error.to_string().contains("runs in"), "{error:#}");
        drop(first);
        l.claim(&account).expect("free again, and its own");
    }

    #[test]
    fn members_of_earlier_runs_are_counted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let l = layout(dir.path());
        assert_eq!(l.members_there(), 0);
        for member in [1, 3] {
            std::fs::create_dir(l.member_dir(member)).expect("made");
        }
        assert_eq!(l.members_there(), 3);
    }

    #[test]
    fn passwords_differ() {
        let (one, other) = (password().expect("random"), password().expect("random"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
    }
}
