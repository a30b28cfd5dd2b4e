//! The files that make a server what it is to be: postgresql.conf, pg_hba.conf, pg_ident.conf, signal files, the
//! password file, and copies of them.
//!
//! Guarantees: each file is replaced as a whole and durably; a file whose text is right is not touched; modes
//! follow the data directory; no password is in any but the password file.

mod copies;
mod custom;
mod dynamic;
pub mod passwords;
mod recovery;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jogi_config::postgres::{ConfFile, ServerParameters, Wanted, compare, lines_text, render_conf};
use jogi_core::ha::{Mode, Setup};

use crate::control::ControlError;
use crate::instance::Instance;
use crate::look::Running;

pub use copies::{restore_backups, save_backups};
pub(crate) use custom::under_way as custom_bootstrap_under_way;
pub(crate) use dynamic::forget_dynamic;
pub use dynamic::{load_dynamic, save_dynamic};
pub use recovery::primary_conninfo;
pub(crate) use recovery::{remove_signal_files, remove_trigger_file, stay_standby};

/// What writing the files means for the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// The running server needs a restart for this to take effect (rather than a reload).
    pub restart: bool,
    /// Nothing had changed, and the running server has loaded what stands there.
    pub unchanged: bool,
    /// Values left out, clamped or raised, and why.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl FileError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = path.to_owned();
        move |source| FileError::Io { action, path, source }
    }
}

impl From<FileError> for jogi_core::ha::Failure {
    fn from(error: FileError) -> Self {
        jogi_core::ha::Failure::Failed(error.to_string())
    }
}

/// The parameters of the server under `setup`.
pub(crate) fn parameters(instance: &Instance, setup: &Setup) -> ServerParameters {
    let known = instance.known();
    let parameters = ServerParameters::new(instance.version(), &instance.effective, &instance.local, known);
    let parameters = match &setup.synchronous_standby_names {
        Some(names) => parameters.with("synchronous_standby_names", Some(names), known),
        None => parameters,
    };
    let parameters =
        if setup.feedback { parameters.with("hot_standby_feedback", Some("on"), known) } else { parameters };
    match custom::under_way(instance) {
        Some(custom) if custom::promotes(custom) => parameters.with("hot_standby", Some("off"), known),
        Some(_) | None => parameters,
    }
}

/// Writes postgresql.conf, pg_hba.conf, pg_ident.conf, signal files (or recovery.conf) and the password file.
/// `running` is what the running server has in force ([`crate::look::running`]), if one runs. Blocking.
pub fn configure(instance: &Instance, setup: &Setup, running: Option<&Running>) -> Result<Configured, FileError> {
    if let Some(custom) = custom::under_way(instance).filter(|_| setup.mode == Mode::Primary) {
        return configure_custom(instance, setup, custom);
    }
    let parameters = parameters(instance, setup);
    let mut warnings = parameters.warnings.clone();
    let section = recovery::section(instance, setup, &mut warnings)?;
    make_directories(&parameters)?;
    let kept = running.filter(|_| setup.mode == Mode::Primary).map(|running| recovery::kept(instance, running));
    let mut changed = write_conf(instance, &parameters, kept.as_ref().unwrap_or(&section), false)?;
    changed |= write_lines(instance, "pg_hba.conf", "hba_file", instance.effective.pg_hba.as_deref(), &parameters)?;
    changed |=
        write_lines(instance, "pg_ident.conf", "ident_file", instance.effective.pg_ident.as_deref(), &parameters)?;
    changed |= recovery::clean_auto_conf(instance)?;
    let signals_changed = recovery::write_signals(instance, setup, &section, running)?;
    changed |= signals_changed;
    let (restart, in_force) = match running {
        None => (false, true),
        Some(running) => (
            recovery::needs_restart(instance, setup, &section, running, signals_changed),
            is_in_force(instance, setup, &parameters, &section, running),
        ),
    };
    Ok(Configured { restart, unchanged: !changed && in_force && !restart, warnings })
}

/// The running server has loaded the files as they stand: an agent may have died between writing and reloading.
fn is_in_force(
    instance: &Instance,
    setup: &Setup,
    parameters: &ServerParameters,
    section: &recovery::Section,
    running: &Running,
) -> bool {
    let loaded_after = |file: PathBuf| {
        let written = std::fs::metadata(file).and_then(|found| found.modified());
        written.map_or(true, |written| running.loaded_at.is_none_or(|loaded| loaded >= written))
    };
    let files =
        [instance.conf_file(), instance.config_dir().join("pg_hba.conf"), instance.config_dir().join("pg_ident.conf")];
    // What only a restart changes is shown as waiting for it, and no reload helps.
    let settings = running.settings.iter().filter(|(_, setting)| setting.context != "postmaster");
    let settings: BTreeMap<_, _> = settings.map(|(name, setting)| (name.clone(), setting.clone())).collect();
    let mut wanted = parameters.wanted.clone();
    for (name, _) in parameters.wanted.iter().filter(|(name, _)| !settings.contains_key(&name.to_lowercase())) {
        wanted.remove(name);
    }
    !compare(&settings, Wanted { before: &wanted, after: &wanted }).changed
        && !recovery::differs(setup, section, running)
        && files.into_iter().all(loaded_after)
}

fn configure_custom(
    instance: &Instance,
    setup: &Setup,
    custom: &jogi_config::local::CustomBootstrap,
) -> Result<Configured, FileError> {
    let parameters = parameters(instance, setup);
    let mut warnings = parameters.warnings.clone();
    make_directories(&parameters)?;
    let section = custom::section(instance, custom, &mut warnings);
    write_conf(instance, &parameters, section.as_deref().unwrap_or_default(), true)?;
    save_backups(instance)?;
    write::replace(&hba_file(instance), custom::hba_text(instance).as_bytes(), config_mode(instance))?;
    if let Some(section) = &section {
        recovery::clean_auto_conf(instance)?;
        custom::write_signals(instance, custom, section)?;
    }
    Ok(Configured { restart: false, unchanged: false, warnings })
}

/// After a custom bootstrap: the real files again. Blocking.
pub(crate) fn finish_custom(instance: &Instance, setup: &Setup) -> Result<(), FileError> {
    let parameters = ServerParameters::new(instance.version(), &instance.effective, &instance.local, instance.known());
    if instance.effective.pg_hba.is_none() {
        write::remove(&hba_file(instance))?;
        restore_backups(instance)?;
    }
    write_conf(instance, &parameters, &recovery::Section::new(), false)?;
    write_lines(instance, "pg_hba.conf", "hba_file", instance.effective.pg_hba.as_deref(), &parameters)?;
    write_lines(instance, "pg_ident.conf", "ident_file", instance.effective.pg_ident.as_deref(), &parameters)?;
    recovery::clean_auto_conf(instance)?;
    recovery::write_signals(instance, setup, &recovery::Section::new(), None).map(|_| ())
}

fn hba_file(instance: &Instance) -> PathBuf {
    instance.config_dir().join("pg_hba.conf")
}

/// Appends lines to `pg_hba.conf` of a fresh cluster (`bootstrap.pg_hba`). Blocking.
pub(crate) fn append_hba(instance: &Instance, lines: &[String]) -> Result<(), FileError> {
    let path = hba_file(instance);
    let mut text = std::fs::read_to_string(&path).map_err(FileError::io("read", &path))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    write::replace(&path, text.as_bytes(), config_mode(instance)).map(|_| ())
}

/// Writes NAME.conf; at the first time keeps the original beside it as NAME.base.conf, which is included.
fn write_conf(
    instance: &Instance,
    parameters: &ServerParameters,
    recovery: &[(String, String)],
    custom_bootstrap: bool,
) -> Result<bool, FileError> {
    let conf = instance.conf_file();
    let base_name = format!("{}.base.conf", instance.effective.config_base_name);
    let base = instance.config_dir().join(&base_name);
    if instance.effective.custom_conf.is_none() && !base.exists() {
        match conf.exists() {
            true => std::fs::rename(&conf, &base).map_err(FileError::io("rename", &conf))?,
            false => {
                write::replace(&base, b"", config_mode(instance))?;
            }
        }
    }
    let in_conf = instance.version() >= recovery::IN_CONF;
    let hba_file = hba_file(instance).to_string_lossy().into_owned();
    let ident_file = instance.config_dir().join("pg_ident.conf").to_string_lossy().into_owned();
    let text = render_conf(
        parameters,
        &ConfFile {
            include: instance.effective.custom_conf.as_deref().unwrap_or(&base_name),
            hba_file: &hba_file,
            ident_file: &ident_file,
            recovery: if in_conf { recovery } else { &[] },
            custom_bootstrap,
        },
    );
    write::replace(&conf, text.as_bytes(), config_mode(instance))
}

/// Writes a file of configured lines, unless the server is told to read another one.
fn write_lines(
    instance: &Instance,
    name: &str,
    parameter: &str,
    lines: Option<&[String]>,
    parameters: &ServerParameters,
) -> Result<bool, FileError> {
    let path = instance.config_dir().join(name);
    let elsewhere = parameters.wanted.text(parameter).is_some_and(|file| Path::new(&file) != path);
    match lines.filter(|_| !elsewhere) {
        Some(lines) => write::replace(&path, lines_text(lines).as_bytes(), config_mode(instance)),
        None => Ok(false),
    }
}

/// Files in the data directory follow its mode; outside of it the umask decides, as for any program.
fn config_mode(instance: &Instance) -> u32 {
    match instance.config_dir().starts_with(instance.data_dir()) {
        true => write::mode_inside(instance.data_dir()),
        false => 0o666 & !umask(),
    }
}

/// Read from `/proc`, because asking the kernel for it means changing it.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o077)
}

/// Directories that a server does not make itself and does not start without.
fn make_directories(parameters: &ServerParameters) -> Result<(), FileError> {
    let text = |name: &str| parameters.wanted.text(name).unwrap_or_default();
    let sockets = text("unix_socket_directories");
    let statistics = text("stats_temp_directory");
    let all = sockets.split(',').map(str::trim).chain([statistics.as_str()]);
    for dir in all.map(Path::new).filter(|dir| dir.is_absolute()) {
        std::fs::create_dir_all(dir).map_err(FileError::io("make", dir))?;
    }
    Ok(())
}
