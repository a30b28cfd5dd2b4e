//! Making a copy of a member by the configured methods.

use std::time::Duration;

use jogi_config::postgres::{ReplicaMethod, ReplicaTarget};
use jogi_core::ha::Upstream;
use serde_json::Value;
use tokio::time::Instant;

use super::basebackup::basebackup;
use super::{Cancel, ProgramError, operators_command, run_blocking, succeed, with_passwords};
use crate::data_dir::{self, Found};
use crate::files::passwords::{Passwords, conninfo_to};
use crate::files::{self, FileError};
use crate::instance::Instance;

/// Where a method copies from.
pub struct Source {
    /// Without a password; empty when there is no running source.
    pub connection: String,
    pub passwords: Passwords,
}

/// Tries the methods in order until one succeeds; the directory is wiped before and after failed ones, unless
/// a method keeps data. Then restores saved configuration files.
pub async fn clone_data(
    instance: &Instance,
    source: Option<&Upstream>,
    basebackup_only: bool,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let until = Instant::now() + within;
    let methods = methods(instance, source, basebackup_only);
    let from = self::source(instance, source).await?;
    let mut failures = Vec::new();
    for method in &methods {
        match try_method(instance, method, &from, until, cancel).await {
            Ok(()) => return run_blocking(instance, after_copy).await,
            Err(ProgramError::Cancelled { program }) => return Err(ProgramError::Cancelled { program }),
            Err(error) => {
                tracing::warn!(method = %method.name, "making a replica failed: {error}");
                failures.push(format!("{}: {error}", method.name));
            }
        }
    }
    let why = match (methods.is_empty(), source) {
        (true, None) => "no method in postgresql.create_replica_methods works without a running member".to_owned(),
        (true, Some(_)) => "postgresql.create_replica_methods is empty".to_owned(),
        (false, _) => failures.join("; "),
    };
    Err(ProgramError::Prepare(format!("no replica could be made: {why}")))
}

async fn source(instance: &Instance, source: Option<&Upstream>) -> Result<Source, ProgramError> {
    let upstream = source.cloned();
    run_blocking(instance, move |instance| {
        let Some(upstream) = upstream.filter(Upstream::streams) else {
            let passwords = Passwords::none();
            return Ok::<_, FileError>(Source { connection: String::new(), passwords });
        };
        let local = &instance.local.postgresql;
        let mut wanted = conninfo_to(&local.authentication.replication, &upstream, &local.database);
        let passwords = Passwords::write(instance, &wanted, "clone")?;
        wanted.0.remove("password");
        Ok(Source { connection: wanted.to_dsn(instance.binaries.version), passwords })
    })
    .await
}

fn methods(instance: &Instance, source: Option<&Upstream>, basebackup_only: bool) -> Vec<ReplicaMethod> {
    let remote = source.is_some_and(|upstream| upstream.member.is_none());
    let mut methods = match (remote, standby_cluster_methods(instance)) {
        (true, Some(methods)) => methods,
        (true, None) | (false, _) => instance.effective.create_replica_methods.clone(),
    };
    if basebackup_only {
        methods = vec![method_named(instance, "basebackup")];
    }
    if !source.is_some_and(Upstream::streams) {
        methods.retain(ReplicaMethod::works_without_leader);
    }
    methods
}

fn standby_cluster_methods(instance: &Instance) -> Option<Vec<ReplicaMethod>> {
    let names = instance.dynamic.get("standby_cluster")?.get("create_replica_methods")?.as_array()?;
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    (!names.is_empty()).then(|| names.iter().map(|name| method_named(instance, name)).collect())
}

fn method_named(instance: &Instance, name: &str) -> ReplicaMethod {
    let section = instance.effective.raw.0.get(name).cloned().unwrap_or_else(|| Value::Object(Default::default()));
    ReplicaMethod { name: name.to_owned(), section }
}

async fn try_method(
    instance: &Instance,
    method: &ReplicaMethod,
    source: &Source,
    until: Instant,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    if !method.keeps_data() {
        run_blocking(instance, empty).await?;
    }
    let within = until.saturating_duration_since(Instant::now());
    let ended = match method.is_basebackup() {
        true => basebackup(instance, method, source, within, cancel).await,
        false => run_method(instance, method, source, within, cancel).await,
    };
    let ended = match ended {
        Ok(()) => run_blocking(instance, check).await,
        Err(error) => Err(error),
    };
    if ended.is_err() && !method.keeps_data() {
        run_blocking(instance, empty).await?;
    }
    ended
}

fn empty(instance: &Instance) -> Result<(), data_dir::DataDirError> {
    data_dir::wipe(instance.data_dir())?;
    data_dir::create(instance.data_dir())
}

async fn run_method(
    instance: &Instance,
    method: &ReplicaMethod,
    source: &Source,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let data_dir = instance.data_dir().to_string_lossy();
    let target = ReplicaTarget { scope: &instance.local.scope, data_dir: &data_dir, connection: &source.connection };
    let program = operators_command(&method.command(), &format!("postgresql.{}.command", method.name))?;
    let program = with_passwords(program.args(method.arguments(target)), &source.passwords);
    let output = succeed(&program, within, cancel).await?;
    tracing::debug!(method = %method.name, "{output}");
    Ok(())
}

/// A method's word that it succeeded is not enough.
fn check(instance: &Instance) -> Result<(), ProgramError> {
    match data_dir::inspect(instance.data_dir(), instance.binaries.major()) {
        Found::Cluster { .. } => Ok(()),
        Found::Empty => {
            Err(ProgramError::Prepare(format!("{} is still empty after it", instance.data_dir().display())))
        }
        Found::Unusable(why) | Found::Broken(why) => Err(ProgramError::Prepare(why)),
    }
}

/// A copy brings its source's signal files; ours are written when it is configured.
fn after_copy(instance: &Instance) -> Result<(), FileError> {
    files::stay_standby(instance)?;
    files::restore_backups(instance)?;
    files::remove_trigger_file(instance)
}
