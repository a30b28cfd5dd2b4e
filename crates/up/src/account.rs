//! The account that the herd runs under: PostgreSQL refuses root.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Who runs the servers. `None` inside: we are an ordinary user already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(Option<Ids>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
    name: String,
}

/// Where a herd of root's goes when its account cannot enter the chosen place.
pub const FALLBACK: &str = "/var/lib/jogi/herd";

impl Account {
    /// Ourselves, or `postgres` when we are root.
    pub fn choose() -> anyhow::Result<Account> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account(None));
        }
        match lookup("postgres") {
            Some(ids) => Ok(Account(Some(ids))),
            None => bail!(
                "PostgreSQL refuses to run as root, and there is no account 'postgres' to run it under: \
                 create it (useradd --system postgres), or run this as an ordinary user"
            ),
        }
    }

    #[cfg(test)]
    pub fn ourselves() -> Account {
        Account(None)
    }

    /// The account's name, when it is not our own.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|ids| ids.name.as_str())
    }

    /// Makes `command` run under the account.
    pub fn apply(&self, command: &mut Command) {
        use std::os::unix::process::CommandExt;
        if let Some(ids) = &self.0 {
            command.uid(ids.uid).gid(ids.gid);
        }
    }

    /// Gives a file or folder to the account.
    pub fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(ids) = &self.0 {
            std::os::unix::fs::chown(path, Some(ids.uid), Some(ids.gid))
                .with_context(|| format!("{} could not be given to {}", path.display(), ids.name))?;
        }
        Ok(())
    }

    /// The same for an open file, called `path`.
    pub fn own_open(&self, file: &std::fs::File, path: &Path) -> anyhow::Result<()> {
        if let Some(ids) = &self.0 {
            std::os::unix::fs::fchown(file, Some(ids.uid), Some(ids.gid))
                .with_context(|| format!("{} could not be given to {}", path.display(), ids.name))?;
        }
        Ok(())
    }

    /// A folder that the account owns and nobody else may enter.
    pub fn private_dir(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        self.own(path)
    }

    /// A file that only the account may read.
    pub fn private_file(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let name = path.with_extension("new");
        let _ = std::fs::remove_file(&name);
        let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name);
        let mut file = open.with_context(|| format!("cannot write {}", name.display()))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        self.own(&name)?;
        std::fs::rename(&name, path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The folder to use: `wanted`, or the fallback when the account cannot enter it.
    pub fn place(&self, wanted: &Path) -> anyhow::Result<PathBuf> {
        let wanted = std::path::absolute(wanted)?;
        if self.0.is_none() {
            return Ok(wanted);
        }
        let parent = existing_ancestor(&wanted);
        let mut test = Command::new("test");
        test.arg("-x").arg(&parent);
        self.apply(&mut test);
        // Beginning where the account cannot be is itself an answer: begin at the root.
        test.current_dir("/");
        let enters = test.status().context("cannot run 'test'")?.success();
        if enters {
            return Ok(wanted);
        }
        say!(
            "{} cannot enter {}: using {FALLBACK} (choose another place with --dir)",
            self.name().unwrap_or("the account"),
            parent.display()
        );
        Ok(PathBuf::from(FALLBACK))
    }
}

fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn lookup(name: &str) -> Option<Ids> {
    let c_name = CString::new(name).ok()?;
    // SAFETY: `c_name` is a valid C string; the returned record is read before any other call that may
    // overwrite it, and this program looks accounts up from one thread only.
    let record = unsafe { libc::getpwnam(c_name.as_ptr()) };
    if record.is_null() {
        return None;
    }
    // SAFETY: not null, and valid until the next lookup.
    let (uid, gid) = unsafe { ((*record).pw_uid, (*record).pw_gid) };
    Some(Ids { uid, gid, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_private_and_replace_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let account = Account(None);
        let path = dir.path().join("secret.yml");
        account.private_file(&path, "one").expect("written");
        account.private_file(&path, "two").expect("written again");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "two");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_nearest_existing_folder_is_asked() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(existing_ancestor(&dir.path().join("a/b/c")), dir.path());
    }
}
