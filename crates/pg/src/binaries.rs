//! PostgreSQL's programs: where they are and which version they have.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jogi_config::postgres::{BinNames, DescribeConfig};

/// The oldest version that this code runs.
pub const OLDEST: u32 = 100_000;

/// The installed programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    pub pg_ctl: PathBuf,
    pub pg_controldata: PathBuf,
    pub pg_basebackup: PathBuf,
    pub pg_rewind: PathBuf,
    pub pg_isready: PathBuf,
    /// e.g. 150020.
    pub version: u32,
    /// The parameters that `postgres` knows (`postgres --describe-config`).
    pub known: DescribeConfig,
}

#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error(
        "PostgreSQL's program '{name}' was not found in {searched}: install the server package or set postgresql.bin_dir"
    )]
    Missing { name: String, searched: String },
    #[error("{} could not be asked for its version: {cause}", program.display())]
    Broken { program: PathBuf, cause: String },
    #[error(
        "{} is PostgreSQL {version}, and PostgreSQL 10 is the oldest that is supported: set postgresql.bin_dir to a newer one",
        program.display()
    )]
    TooOld { program: PathBuf, version: String },
}

impl Binaries {
    /// Finds the programs in `bin_dir` (else in PATH) and asks `postgres` for its version. Blocking.
    ///
    /// Only `postgres` has to be there; another one that is missing is an error of whoever runs it.
    pub fn locate(bin_dir: Option<&Path>, names: &BinNames) -> Result<Binaries, BinariesError> {
        let postgres = find(bin_dir, &names.postgres)?;
        let version = version_of(&postgres)?;
        let known = DescribeConfig::parse(&output(&postgres, "--describe-config")?);
        let beside = |name: &str| find(bin_dir, name).unwrap_or_else(|_| postgres.with_file_name(name));
        Ok(Binaries {
            initdb: beside(&names.initdb),
            pg_ctl: beside(&names.pg_ctl),
            pg_controldata: beside(&names.pg_controldata),
            pg_basebackup: beside(&names.pg_basebackup),
            pg_rewind: beside(&names.pg_rewind),
            pg_isready: beside(&names.pg_isready),
            postgres,
            version,
            known,
        })
    }

    pub fn major(&self) -> u32 {
        self.version / 10_000
    }
}

fn find(bin_dir: Option<&Path>, name: &str) -> Result<PathBuf, BinariesError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = match bin_dir {
        Some(dir) => vec![dir.to_owned()],
        None => std::env::split_paths(&path).collect(),
    };
    let searched = || match bin_dir {
        Some(dir) => dir.display().to_string(),
        None => format!("PATH ({})", path.display()),
    };
    let found = dirs.iter().map(|dir| dir.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| BinariesError::Missing { name: name.to_owned(), searched: searched() })
}

fn version_of(program: &Path) -> Result<u32, BinariesError> {
    let text = output(program, "--version")?;
    let broken = || BinariesError::Broken {
        program: program.to_owned(),
        cause: format!("it printed '{}' and no version", text.trim()),
    };
    let (shown, number) = version_in(&text).ok_or_else(broken)?;
    match number >= OLDEST {
        true => Ok(number),
        false => Err(BinariesError::TooOld { program: program.to_owned(), version: shown.to_owned() }),
    }
}

fn output(program: &Path, option: &str) -> Result<String, BinariesError> {
    let broken = |cause: String| BinariesError::Broken { program: program.to_owned(), cause };
    let output = Command::new(program).arg(option).stdin(Stdio::null()).output().map_err(|e| broken(e.to_string()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(broken(format!("{option} ended with {}: {}", output.status, stderr.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `15.20 (Debian …)` as a number.
pub(crate) fn version_number(text: &str) -> Option<u32> {
    version_in(text).map(|(_, number)| number)
}

/// `postgres (PostgreSQL) 15.20 (Debian …)`, `17beta1`, `9.6.24` → as shown, and as a number.
fn version_in(text: &str) -> Option<(&str, u32)> {
    let shown = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits = shown.find(|c: char| !c.is_ascii_digit() && c != '.').map_or(shown, |end| &shown[..end]);
    let mut parts = digits.split('.').map(|part| part.parse::<u32>().ok());
    let major = parts.next()??;
    let second = parts.next().flatten().unwrap_or(0);
    let third = parts.next().flatten().unwrap_or(0);
    let number = match major >= 10 {
        true => major * 10_000 + second,
        false => major * 10_000 + second * 100 + third,
    };
    Some((shown, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for (text, shown, number) in [
            ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", "15.20", 150_020),
            ("postgres (PostgreSQL) 17beta1", "17beta1", 170_000),
            ("postgres (PostgreSQL) 10.0", "10.0", 100_000),
            ("postgres (PostgreSQL) 19devel", "19devel", 190_000),
            ("postgres (PostgreSQL) 9.6.24", "9.6.24", 90_624),
        ] {
            assert_eq!(version_in(text), Some((shown, number)));
        }
        assert_eq!(version_in("bash: no such file"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_where_it_was_sought() {
        let error = find(Some(Path::new("/nonexistent")), "postgres").expect_err("not there");
        let text = error.to_string();
        assert!(text.contains("'postgres' was not found in /nonexistent") && text.contains("bin_dir"), "{text}");
    }
}
