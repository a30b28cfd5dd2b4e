//! `--validate-config`: everything that is wrong with a configuration, one line each: Patroni's words, and behind them
//! where the option stands.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jogi_agent::Source;
use jogi_config::validate::{Finding, Machine, validate};
use jogi_config::yaml::Lines;
use jogi_config::{HostPort, Local, yaml};
use jogi_pg::data_dir;
use serde_json::Value;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub ignore_listen_port: bool,
    pub print: bool,
}

/// Python's words for a host that the resolver does not know.
const UNKNOWN_HOST: &str = "[Errno -2] Name or service not known";

/// How long a server of the store may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Tells the findings on stderr, as Patroni does; the exit code is 1 when there are any.
pub fn main(config: Option<PathBuf>, options: Options) -> ExitCode {
    let source = Source::new(config);
    match findings(&source, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            ExitCode::FAILURE
        }
    }
}

/// Patroni's findings. Where there are none the daemon must be able to start too.
fn findings(source: &Source, options: Options) -> Result<(), Vec<String>> {
    let said = |error: &dyn std::fmt::Display| vec![error.to_string()];
    let files = source.files().map_err(|error| said(&error))?;
    let raw = Local::merged(&files, source.environment()).map_err(|error| said(&error))?;
    let bin_dir = raw.pointer("/postgresql/bin_dir").and_then(Value::as_str).filter(|dir| !dir.is_empty());
    let machine = ThisMachine { ignore_listen_port: options.ignore_listen_port, bin_dir: bin_dir.map(PathBuf::from) };
    let findings = validate(&raw, &machine);
    if !findings.is_empty() {
        let places = Places::read(&files);
        return Err(findings.iter().map(|finding| places.tell(finding)).collect());
    }
    let loaded = source.load().map_err(|error| said(&error))?;
    loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    if options.print {
        print!("{}", yaml::dump(&raw));
    }
    Ok(())
}

/// Where each option stands.
struct Places(Vec<(String, Lines)>);

impl Places {
    fn read(files: &[(String, String)]) -> Places {
        let lines = |(name, text): &(String, String)| {
            yaml::parse_document(text).ok().map(|document| (name.clone(), document.lines))
        };
        Places(files.iter().filter_map(lines).collect())
    }

    fn tell(&self, finding: &Finding) -> String {
        match self.of(&finding.path) {
            Some((file, line)) => format!("{finding} ({file}, line {line})"),
            None => finding.to_string(),
        }
    }

    /// The file and line that count: those of the option, else of the section that lacks it.
    fn of(&self, path: &str) -> Option<(&str, usize)> {
        let keys: Vec<&str> = path.split('.').collect();
        let at = |depth: usize| {
            self.0.iter().rev().find_map(|(file, lines)| Some((file.as_str(), lines.of(&keys[..depth])?)))
        };
        (1..=keys.len()).rev().find_map(at)
    }
}

struct ThisMachine {
    ignore_listen_port: bool,
    /// Where PostgreSQL's programs are to be found.
    bin_dir: Option<PathBuf>,
}

impl ThisMachine {
    fn find(&self, bin_dir: Option<&Path>, name: &str) -> Option<PathBuf> {
        let dirs: Vec<PathBuf> = match bin_dir {
            Some(dir) => vec![dir.to_owned()],
            None => std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
        };
        dirs.into_iter().map(|dir| dir.join(name)).find(|program| program.is_file())
    }

    /// The version that `postgres --version` says, as PG_VERSION has it: `15`, `9.6`.
    fn installed_version(&self) -> Option<String> {
        let postgres = self.find(self.bin_dir.as_deref(), "postgres")?;
        let output = std::process::Command::new(postgres).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?;
        match major.parse::<u32>().ok()? {
            ..10 => Some(format!("{major}.{}", parts.next()?)),
            _ => Some(major.to_owned()),
        }
    }
}

impl Machine for ThisMachine {
    fn can_listen(&self, address: &HostPort) -> Result<(), String> {
        if self.ignore_listen_port {
            return Ok(());
        }
        for host in address.hosts() {
            let host = if host == "*" { "0.0.0.0" } else { host };
            let Ok(addresses) = (host, address.port).to_socket_addrs() else {
                return Err(UNKNOWN_HOST.into());
            };
            let in_use = |one| TcpListener::bind(one).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
            if addresses.into_iter().any(in_use) {
                return Err(format!("Port {} is already in use.", address.port));
            }
        }
        Ok(())
    }

    fn can_connect(&self, address: &HostPort, written: &str) -> Result<(), String> {
        let Ok(mut addresses) = (address.host.as_str(), address.port).to_socket_addrs() else {
            return Err(UNKNOWN_HOST.into());
        };
        match addresses.any(|one| TcpStream::connect_timeout(&one, CONNECT).is_ok()) {
            true => Ok(()),
            false => Err(format!("{written} is not reachable")),
        }
    }

    fn data_dir(&self, path: &str) -> Result<(), String> {
        let path = Path::new(path);
        if path.exists() && !path.is_dir() {
            return Err("is not a directory".into());
        }
        if data_dir::is_empty(path).map_err(|error| error.to_string())? {
            return Ok(());
        }
        let Ok(version) = std::fs::read_to_string(path.join("PG_VERSION")) else {
            return Err("doesn't look like a valid data directory".into());
        };
        let version = version.trim();
        let Ok(number) = version.parse::<f64>() else {
            return Err(format!("could not convert string to float: '{version}'"));
        };
        let wal = if number >= 10.0 { "pg_wal" } else { "pg_xlog" };
        if !path.join(wal).is_dir() {
            return Err(format!("data dir for the cluster is not empty, but doesn't contain \"{wal}\" directory"));
        }
        match self.installed_version() {
            Some(installed) if installed != version => Err(format!(
                "data_dir directory postgresql version ({version}) doesn't match with 'postgres --version' output ({installed})"
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn directory(&self, path: &str) -> Result<(), String> {
        let path = Path::new(path);
        if !path.exists() {
            return Err(format!("Directory '{}' does not exist.", path.display()));
        }
        if !path.is_dir() {
            return Err(format!("'{}' is not a directory.", path.display()));
        }
        Ok(())
    }

    fn program(&self, bin_dir: Option<&str>, name: &str) -> bool {
        self.find(bin_dir.map(Path::new), name).is_some()
    }
}
