//! The facts of this machine.

use std::net::{Ipv6Addr, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::facts::{Facts, Provider, Renice};
use crate::plan;
use crate::variables::Environment;

use super::{memory_mb, metadata};

/// What stands in for parts of the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Below it lies the data directory that is looked at; `/` or the directory of `--root`.
    pub root: PathBuf,
    pub metadata_address: String,
}

/// Blocking but for the metadata; a machine without a cloud costs the two seconds of one question.
pub async fn facts(environment: &Environment, machine: &Machine) -> Facts {
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (provider, instance) = metadata::detect(&machine.metadata_address, known(environment)).await;
    let host_name = environment.get("HOSTNAME").filter(|name| !name.is_empty()).cloned().unwrap_or(host_name);
    let mut facts = Facts {
        provider,
        instance,
        host_ip: address_of(&host_name),
        host_name,
        memory_mb: memory_mb(Path::new("/")),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        dual_stack: has_dual_stack(),
        renice: renice(),
        data_version: data_version(&machine.root, &plan::data_directory(environment)),
        path: environment.get("PATH").cloned().unwrap_or_default(),
        ..Facts::default()
    };
    add_servers(environment, &mut facts);
    facts
}

/// From `SPILO_PROVIDER`, else `DEVELOP`; a wrong text is refused later.
fn known(environment: &Environment) -> Option<Provider> {
    if let Some(text) = environment.get("SPILO_PROVIDER").filter(|text| !text.is_empty()) {
        return Some(Provider::parse(text).unwrap_or_default());
    }
    let develop = environment.get("DEVELOP").map(|text| text.to_lowercase()).unwrap_or_default();
    matches!(develop.as_str(), "1" | "true" | "on").then_some(Provider::Local)
}

/// The first address of the host name.
fn address_of(host: &str) -> String {
    let addresses = (host, 0).to_socket_addrs();
    let first = addresses.ok().and_then(|mut addresses| addresses.next());
    first.map_or_else(|| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}

/// Whether one socket of `::` takes both families.
fn has_dual_stack() -> bool {
    let only_six = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").unwrap_or_default();
    let binds = std::net::TcpListener::bind(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)).is_ok();
    binds && only_six.trim() != "1"
}

fn renice() -> Renice {
    const SYS_NICE: u64 = 1 << 23;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bounds = field("CapBnd:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let bound = field("NoNewPrivs:") == Some("1");
    match (bounds & SYS_NICE != 0, bound, rustix::process::geteuid().is_root()) {
        (false, _, _) | (true, true, false) => Renice::No,
        (true, true, true) => Renice::ByRoot,
        (true, false, _) => Renice::Yes,
    }
}

/// `18` of `<data>/PG_VERSION`.
fn data_version(root: &Path, data: &str) -> Option<String> {
    let file = root.join(data.trim_start_matches('/')).join("PG_VERSION");
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn add_servers(environment: &Environment, facts: &mut Facts) {
    let majors = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = majors.map(|major| major.path().join("bin")).collect();
    dirs.extend(plan::configured_bin_dir(environment).map(PathBuf::from));
    let of_path = std::env::split_paths(&facts.path).find(|dir| dir.join("postgres").is_file());
    facts.server_of_path = of_path.as_ref().map(|dir| dir.display().to_string());
    dirs.extend(of_path);
    for dir in dirs {
        if let Some(version) = version_of(&dir) {
            facts.servers.insert(dir.display().to_string(), version);
        }
    }
    facts.server_of_path = facts.server_of_path.take().filter(|dir| facts.servers.contains_key(dir));
}

/// `postgres (PostgreSQL) 18.1 …` is 18, `9.6.24` is 9.6.
fn version_of(dir: &Path) -> Option<String> {
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?;
    match major.parse::<u32>().ok()? {
        ..10 => Some(format!("{major}.{}", parts.next()?)),
        _ => Some(major.to_owned()),
    }
}
