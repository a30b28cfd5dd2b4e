//! Environment and command line of the postmaster.
//!
//! What must be equal in the whole herd stands on the command line, where neither `ALTER SYSTEM` nor a file can
//! change it (configuration 15). The password file is named in `primary_conninfo`, so no secret is here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use jogi_core::ha::{Mode, Setup};

use crate::control::{self, Minimums};
use crate::files::{FileError, parameters};
use crate::instance::Instance;

/// How to start the postmaster: for the guard, which does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSpec {
    pub program: PathBuf,
    /// Without the program's own name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    pub data_dir: PathBuf,
    /// Parameters raised to the primary's minimums for a standby, and other things worth a warning.
    pub warnings: Vec<String>,
}

/// The command line for `setup`. Blocking: a standby's minimums are read from the control file.
pub fn start_spec(instance: &Instance, setup: &Setup) -> Result<StartSpec, FileError> {
    let mut parameters = parameters(instance, setup);
    let mut warnings = Vec::new();
    match &setup.mode {
        Mode::Primary => {}
        Mode::Standby { .. } => {
            let file = control::read_file(instance.data_dir(), Some(&instance.binaries.pg_controldata))?;
            warnings = parameters.raise_to(&control_lines(&file.minimums)).messages;
        }
    }
    let mut args: Vec<OsString> = vec!["-D".into(), instance.data_dir().into()];
    let mut config_file = OsString::from("--config-file=");
    config_file.push(instance.conf_file());
    args.push(config_file);
    args.extend(parameters.command_line.iter().map(|(name, value)| format!("--{name}={value}").into()));
    Ok(StartSpec {
        program: instance.binaries.postgres.clone(),
        args,
        env: postmaster_environment(instance),
        data_dir: instance.data_dir().to_owned(),
        warnings,
    })
}

/// The minimums as pg_controldata prints them.
fn control_lines(minimums: &Minimums) -> BTreeMap<String, String> {
    let lines = [
        ("max_connections setting", Some(minimums.max_connections)),
        ("max_worker_processes setting", Some(minimums.max_worker_processes)),
        ("max_wal_senders setting", minimums.max_wal_senders),
        ("max_prepared_xacts setting", Some(minimums.max_prepared_xacts)),
        ("max_locks_per_xact setting", Some(minimums.max_locks_per_xact)),
    ];
    lines.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_string()))).collect()
}

fn postmaster_environment(instance: &Instance) -> Vec<(OsString, OsString)> {
    let mut env = clean_environment();
    env.retain(|(name, _)| {
        !is_foreign(name.as_bytes()) && name != "PG_MALLOC_ARENA_MAX" && name != "PG_GRANDPARENT_PID"
    });
    if let Some(arenas) = std::env::var_os("PG_MALLOC_ARENA_MAX") {
        env.retain(|(name, _)| name != "MALLOC_ARENA_MAX");
        env.push(("MALLOC_ARENA_MAX".into(), arenas));
    }
    if let Some(service) = &instance.effective.krbsrvname {
        env.push(("PGKRBSRVNAME".into(), service.into()));
    }
    env
}

/// Our environment without what is the agent's own (`PATRONI_*`, `NOTIFY_SOCKET` …): for callbacks and scripts,
/// which may well talk to Kubernetes or to a server of their own.
pub fn clean_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !is_private(name.as_bytes())).collect()
}

fn is_private(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 2] = [b"PATRONI_", b"JOGI_"];
    const NAMES: [&[u8]; 6] =
        [b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID", b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// What a server has no use for: whoever may run a program in it would read it there.
fn is_foreign(name: &[u8]) -> bool {
    name.starts_with(b"KUBERNETES_") || name == b"PGPASSWORD"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_agents_own_is_not_handed_on() {
        for (name, private) in [
            ("PATRONI_SUPERUSER_PASSWORD", true),
            ("JOGI_TEST_PG_BIN", true),
            ("NOTIFY_SOCKET", true),
            ("KUBERNETES_SERVICE_HOST", false),
            ("PATH", false),
            ("LC_ALL", false),
            ("PGDATA", false),
            ("AWS_REGION", false),
        ] {
            assert_eq!(is_private(name.as_bytes()), private, "{name}");
        }
        assert!(is_foreign(b"KUBERNETES_SERVICE_HOST") && is_foreign(b"PGPASSWORD") && !is_foreign(b"PATH"));
    }
}
