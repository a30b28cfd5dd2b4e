//! A server that a custom bootstrap method has just made: somebody's backup, with somebody's passwords.
//!
//! Until post-bootstrap has set our roles, local connections are trusted, and recovery settings are those of the
//! bootstrap section. That a custom bootstrap is under way is told by its intent in the run directory.

use std::net::ToSocketAddrs;

use jogi_config::local::CustomBootstrap;
use jogi_config::postgres::{HbaTrust, hba_trust_text, recovery_file_parameters, render_recovery_conf};
use serde_json::{Map, Value};

use super::recovery::{IN_CONF, Section};
use super::{FileError, write};
use crate::connect::Address;
use crate::instance::Instance;
use crate::rundir::{self, IntentKind, RunDir};

/// The method, while its bootstrap is under way.
pub fn under_way(instance: &Instance) -> Option<&CustomBootstrap> {
    let custom = instance.local.bootstrap.custom.as_ref()?;
    let run_dir = RunDir::find(instance.data_dir()).ok()??;
    let intent = rundir::read_intent(&run_dir).ok()??;
    (intent.kind == IntentKind::Initdb).then_some(custom)
}

/// `hot_standby` is off where recovery ends in a promotion: nobody is to read of it before.
pub fn promotes(custom: &CustomBootstrap) -> bool {
    let setting = |name: &str| custom.recovery_conf.as_ref().and_then(|conf| conf.get(name));
    let text = |value: &Value| jogi_config::python::str(value).to_lowercase();
    setting("recovery_target_action").map(text).as_deref() == Some("promote")
        || setting("pause_at_recovery_target").is_some_and(|v| !jogi_config::python::is_true(v))
}

/// `pg_hba.conf` that lets us in.
pub fn hba_text(instance: &Instance) -> String {
    let authentication = &instance.local.postgresql.authentication;
    let addresses = match instance.local_address() {
        Address::Unix(..) => Vec::new(),
        Address::Tcp(host, port) => resolve(&host, port),
    };
    hba_trust_text(&HbaTrust {
        replication_user: authentication.replication.username.as_deref().unwrap_or("all"),
        superuser: authentication.superuser.as_ref().and_then(|superuser| superuser.username.as_deref()),
        addresses: &addresses,
    })
}

fn resolve(host: &str, port: u16) -> Vec<String> {
    let found = (host, port).to_socket_addrs().into_iter().flatten();
    found.map(|address| address.ip().to_string()).collect()
}

/// The recovery section of the method; `None`: whatever stands in the copied files is kept.
pub fn section(instance: &Instance, custom: &CustomBootstrap, warnings: &mut Vec<String>) -> Option<Section> {
    if custom.keep_existing_recovery_conf {
        return None;
    }
    let settings: Map<String, Value> = custom.recovery_conf.clone().unwrap_or_default();
    let (lines, more) = recovery_file_parameters(instance.version(), &settings, None, instance.known());
    warnings.extend(more);
    Some(lines)
}

/// Signal files (or recovery.conf): recovery is asked for when the method has recovery settings.
pub fn write_signals(instance: &Instance, custom: &CustomBootstrap, section: &Section) -> Result<(), FileError> {
    let data_dir = instance.data_dir();
    let mode = write::mode_inside(data_dir);
    write::remove(&data_dir.join("standby.signal"))?;
    if custom.recovery_conf.is_none() {
        write::remove(&data_dir.join("recovery.signal"))?;
        return write::remove(&data_dir.join("recovery.conf")).map(|_| ());
    }
    let written = match instance.version() >= IN_CONF {
        true => write::replace(&data_dir.join("recovery.signal"), b"", mode),
        false => write::replace(&data_dir.join("recovery.conf"), render_recovery_conf(section).as_bytes(), mode),
    };
    written.map(|_| ())
}
