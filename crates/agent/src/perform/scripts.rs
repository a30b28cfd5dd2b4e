//! The operator's scripts around a promotion and a stop: waited for, and heard.

use std::time::Duration;

use jogi_core::ha::{Outcome, Script};
use jogi_pg::instance::Instance;
use jogi_pg::programs::{self, Cancel};

use super::program_ended;

pub(super) async fn run(instance: &Instance, script: Script, limit: Duration, cancel: &mut Cancel) -> Outcome {
    program_ended(programs::script(instance, script, limit, cancel).await, cancel)
}
