//! pg_basebackup: one run is one attempt; whether there is another is not decided here.

use std::time::Duration;

use jogi_config::postgres::ReplicaMethod;

use super::clone::Source;
use super::{Cancel, ProgramError, postgres_program, succeed, with_passwords};
use crate::instance::Instance;

/// Copies the source into the data directory, which is there and empty. A spread checkpoint would let a new
/// replica wait for minutes, so a fast one is asked for unless the configuration says otherwise.
pub async fn basebackup(
    instance: &Instance,
    method: &ReplicaMethod,
    source: &Source,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let options = method.basebackup_options(instance.binaries.version);
    for problem in &options.problems {
        tracing::warn!("postgresql.basebackup: {problem}");
    }
    let chosen = options.arguments.iter().any(|argument| argument.starts_with("--checkpoint"));
    let program = postgres_program(&instance.binaries.pg_basebackup)
        .arg("--pgdata")
        .arg(instance.data_dir())
        .args(["-X", "stream"])
        .arg(format!("--dbname={}", source.connection))
        .args((!chosen).then_some("--checkpoint=fast"))
        .args(options.arguments)
        .arg("--no-password")
        .inside(instance.data_dir());
    succeed(&with_passwords(program, &source.passwords), within, cancel).await.map(|_| ())
}
