//! Callbacks and the scripts around promotion and stop (configuration 11).

use std::time::Duration;

use jogi_core::ha::{Action, Script};

use super::{Cancel, ProgramError, operators_command, succeed};
use crate::instance::Instance;

/// Runs the callback of an action, when one is configured, with ACTION ROLE SCOPE.
pub async fn callback(
    instance: &Instance,
    action: Action,
    role: &str,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let callbacks = &instance.effective.callbacks;
    let configured = match action {
        Action::OnStart => &callbacks.on_start,
        Action::OnStop => &callbacks.on_stop,
        Action::OnRestart => &callbacks.on_restart,
        Action::OnReload => &callbacks.on_reload,
        Action::OnRoleChange => &callbacks.on_role_change,
    };
    let Some(text) = configured else { return Ok(()) };
    let what = format!("postgresql.callbacks.{}", action.word());
    let program = operators_command(text, &what)?.args([action.word(), role, &instance.local.scope]);
    succeed(&program, within, cancel).await.map(|_| ())
}

/// Runs `pre_promote` or `before_stop`. A non-zero exit is an error; nothing configured is a success.
pub async fn script(
    instance: &Instance,
    script: Script,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let (configured, what) = match script {
        Script::PrePromote => (&instance.effective.pre_promote, "postgresql.pre_promote"),
        Script::BeforeStop => (&instance.effective.before_stop, "postgresql.before_stop"),
    };
    let Some(text) = configured else { return Ok(()) };
    succeed(&operators_command(text, what)?, within, cancel).await.map(|_| ())
}
