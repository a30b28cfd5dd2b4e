//! What makes a server follow: recovery parameters and signal files, before and after PostgreSQL 12.

use std::path::Path;

use jogi_config::postgres::{
    Conninfo, is_recovery_parameter, recovery_file_parameters, recovery_section, render_recovery_conf,
    strip_recovery_parameters,
};
use jogi_core::ha::{Mode, Setup, Upstream};
use serde_json::{Map, Value};

use super::passwords::{conninfo_to, write_pgpass};
use super::{FileError, write};
use crate::instance::Instance;
use crate::look::Running;

/// PostgreSQL 12 moved recovery parameters into postgresql.conf and `standby_mode` into a file's existence.
pub const IN_CONF: u32 = 120_000;
const STANDBY_SIGNAL: &str = "standby.signal";
const RECOVERY_SIGNAL: &str = "recovery.signal";
const RECOVERY_CONF: &str = "recovery.conf";
/// An empty target in each form keeps one that was left in an included file from ending recovery.
const NO_TARGET: [&str; 5] =
    ["recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn"];
/// Of `standby_cluster`, for its leader; the first two for its replicas as well.
const STANDBY_CLUSTER: [&str; 3] = ["restore_command", "archive_cleanup_command", "recovery_min_apply_delay"];

/// The recovery section: name and value, sorted.
pub type Section = Vec<(String, String)>;

/// The recovery section for `setup`, with the password file written; empty for a primary.
pub fn section(instance: &Instance, setup: &Setup, warnings: &mut Vec<String>) -> Result<Section, FileError> {
    let Mode::Standby { upstream } = &setup.mode else { return Ok(Section::new()) };
    let version = instance.version();
    let mut settings: Map<String, Value> = instance.effective.recovery_conf.clone();
    settings.retain(|name, _| {
        let name = name.to_lowercase();
        !name.starts_with("recovery_target") && !name.starts_with("primary_")
    });
    standby_cluster_settings(instance, upstream.as_ref(), &mut settings);
    settings.insert("standby_mode".to_owned(), "on".into());
    settings.insert("recovery_target_timeline".to_owned(), "latest".into());
    if version >= IN_CONF {
        settings.extend(NO_TARGET.map(|name| (name.to_owned(), "".into())));
    }
    if let Some(slot) = upstream.as_ref().and_then(|upstream| upstream.slot.as_ref()) {
        settings.insert("primary_slot_name".to_owned(), slot.as_str().into());
    }
    let primary = match upstream.as_ref().filter(|upstream| upstream.streams()) {
        Some(upstream) => Some(primary_conninfo(instance, upstream)?),
        None => None,
    };
    let (lines, more) = recovery_file_parameters(version, &settings, primary.as_ref(), instance.known());
    warnings.extend(more);
    Ok(lines)
}

/// What of the recovery section stays in the files of a server that runs as primary and was started as a standby: PostgreSQL
/// takes a parameter that only a start can change and that vanishes from the files for an error in them, and says so
/// at every reload. Without a signal file they do nothing, and the next start writes the files anew.
pub fn kept(instance: &Instance, running: &Running) -> Section {
    let conf = std::fs::read_to_string(instance.conf_file()).unwrap_or_default();
    recovery_section(&conf).into_iter().filter(|(name, _)| is_postmaster(running, name)).collect()
}

fn standby_cluster_settings(instance: &Instance, upstream: Option<&Upstream>, settings: &mut Map<String, Value>) {
    let Some(Value::Object(remote)) = instance.dynamic.get("standby_cluster") else { return };
    let leads = upstream.is_some_and(|upstream| upstream.member.is_none());
    let count = if leads { STANDBY_CLUSTER.len() } else { 2 };
    for name in &STANDBY_CLUSTER[..count] {
        if let Some(value) = remote.get(*name).filter(|value| jogi_config::python::is_true(value)) {
            settings.insert((*name).to_owned(), value.clone());
        }
    }
}

/// How the wal receiver connects: as Patroni writes it, the password by file.
pub fn primary_conninfo(instance: &Instance, upstream: &Upstream) -> Result<Conninfo, FileError> {
    let credentials = &instance.local.postgresql.authentication.replication;
    let mut wanted = conninfo_to(credentials, upstream, &instance.local.postgresql.database);
    if let Some(file) = write_pgpass(instance, &wanted)? {
        wanted.0.insert("passfile".to_owned(), file.to_string_lossy().into_owned());
    }
    wanted.0.remove("password");
    wanted.0.insert("application_name".to_owned(), instance.local.name.to_string());
    if let Some(service) = &instance.effective.krbsrvname {
        wanted.0.insert("krbsrvname".to_owned(), service.clone());
    }
    Ok(wanted.with_defaults(instance.version()))
}

/// Writes or removes signal files (recovery.conf before 12). `true` when something changed. The files of a server
/// in recovery that is about to be promoted stay: it removes them itself when recovery has ended, and without them
/// a crash before that would bring it up as a primary.
pub fn write_signals(
    instance: &Instance,
    setup: &Setup,
    section: &Section,
    running: Option<&Running>,
) -> Result<bool, FileError> {
    let data_dir = instance.data_dir();
    let mode = write::mode_inside(data_dir);
    let path = |name: &str| data_dir.join(name);
    match &setup.mode {
        Mode::Primary if running.is_some_and(|running| running.in_recovery) => Ok(false),
        Mode::Primary => {
            let removed = [write::remove(&path(STANDBY_SIGNAL))?, write::remove(&path(RECOVERY_SIGNAL))?];
            Ok(write::remove(&path(RECOVERY_CONF))? || removed.contains(&true))
        }
        Mode::Standby { .. } if instance.version() < IN_CONF => {
            write::replace(&path(RECOVERY_CONF), render_recovery_conf(section).as_bytes(), mode)
        }
        Mode::Standby { .. } => {
            let made = write::replace(&path(STANDBY_SIGNAL), b"", mode)?;
            Ok(write::remove(&path(RECOVERY_SIGNAL))? || made)
        }
    }
}

/// Leaves what was copied or rewound a standby, whoever starts it before its configuration is written: as a primary it
/// would write a branch of its own on the leader's timeline, which no comparison of histories tells from the leader's.
/// Blocking.
pub(crate) fn stay_standby(instance: &Instance) -> Result<(), FileError> {
    let data_dir = instance.data_dir();
    let mode = write::mode_inside(data_dir);
    if instance.version() >= IN_CONF {
        write::replace(&data_dir.join(STANDBY_SIGNAL), b"", mode)?;
    } else if !data_dir.join(RECOVERY_CONF).exists() {
        let text = b"standby_mode = 'on'\nrecovery_target_timeline = 'latest'\n";
        write::replace(&data_dir.join(RECOVERY_CONF), text, mode)?;
    }
    Ok(())
}

/// Blocking.
pub(crate) fn remove_signal_files(data_dir: &Path) -> Result<(), FileError> {
    for name in [STANDBY_SIGNAL, RECOVERY_SIGNAL, RECOVERY_CONF] {
        write::remove(&data_dir.join(name))?;
    }
    Ok(())
}

/// A trigger file that came with a copy would promote it at once. Blocking.
pub(crate) fn remove_trigger_file(instance: &Instance) -> Result<(), FileError> {
    for name in ["promote_trigger_file", "trigger_file"] {
        if let Some(path) = instance.effective.recovery_conf.get(name).and_then(Value::as_str) {
            write::remove(&instance.data_dir().join(path))?;
        }
    }
    Ok(())
}

/// Takes recovery parameters out of postgresql.auto.conf, where they would win over ours.
pub fn clean_auto_conf(instance: &Instance) -> Result<bool, FileError> {
    let path = instance.data_dir().join("postgresql.auto.conf");
    if instance.version() < IN_CONF {
        return Ok(false);
    }
    let Some(clean) = std::fs::read_to_string(&path).ok().and_then(|text| strip_recovery_parameters(&text)) else {
        return Ok(false);
    };
    write::replace(&path, clean.as_bytes(), write::mode_inside(instance.data_dir()))
}

/// Does the running server need a restart before it follows as `setup` says?
pub fn needs_restart(instance: &Instance, setup: &Setup, section: &Section, running: &Running, changed: bool) -> bool {
    match &setup.mode {
        Mode::Primary => false,
        Mode::Standby { .. } if !running.in_recovery => true,
        Mode::Standby { .. } if instance.version() < IN_CONF => changed,
        Mode::Standby { .. } => differing(section, running).any(|name| is_postmaster(running, &name)),
    }
}

fn is_postmaster(running: &Running, name: &str) -> bool {
    running.settings.get(name).is_some_and(|setting| setting.context == "postmaster")
}

/// The recovery parameters whose value in force is not the wanted one; one that we do not write is to be empty.
fn differing<'s>(section: &'s Section, running: &'s Running) -> impl Iterator<Item = String> + 's {
    let wanted = |name: &str| section.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    running.settings.iter().filter(|(name, _)| is_compared(name)).filter_map(move |(name, setting)| {
        let wanted = wanted(name);
        let same = match (name.as_str(), wanted) {
            ("primary_conninfo", Some(wanted)) => same_conninfo(wanted, &setting.setting),
            (_, Some(wanted)) => jogi_config::postgres::equivalent(setting, &wanted.into()),
            // What an included file of the user's sets is his own, but for whom to follow.
            ("primary_conninfo" | "primary_slot_name", None) => setting.setting.is_empty(),
            (_, None) => true,
        };
        (!same).then(|| name.clone())
    })
}

/// These act only at a recovery target, which a standby has none of (ha-rules 22.6).
fn is_compared(name: &str) -> bool {
    const INERT: [&str; 4] =
        ["pause_at_recovery_target", "recovery_target_inclusive", "recovery_target_action", "standby_mode"];
    is_recovery_parameter(name) && !INERT.contains(&name)
}

fn same_conninfo(wanted: &str, in_force: &str) -> bool {
    match (Conninfo::parse(wanted), Conninfo::parse(in_force)) {
        (Some(wanted), Some(in_force)) => in_force.satisfies(&wanted),
        _ => wanted == in_force,
    }
}

/// Whether any recovery parameter of the running server differs: then a reload (or restart) is due even when no
/// file was changed just now.
pub fn differs(setup: &Setup, section: &Section, running: &Running) -> bool {
    match &setup.mode {
        Mode::Primary => false,
        Mode::Standby { .. } => differing(section, running).next().is_some(),
    }
}
