//! `pause` and `resume`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use jogi_config::python;
use jogi_core::view::{Cluster, Member};
use serde_json::{Value, json};
use tracing::warn;

use super::reload::DEFAULT_LOOP_WAIT;
use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::roles;
use crate::session::Session;
use crate::store::Herd;

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// Wait until all members know
    #[arg(long)]
    pub wait: bool,
}

pub async fn run(session: &Session, arguments: Arguments, pause: bool) -> Result<(), Failure> {
    let herd = session.herd_of_group(&arguments.cluster)?;
    let cluster = herd.load().await?;
    if cluster.settings().is_some_and(|settings| settings.pause) == pause {
        return Err(Failure::said(format!("Cluster is {} paused", if pause { "already" } else { "not" })));
    }
    let body = json!({"pause": if pause { Value::Bool(true) } else { Value::Null }});
    for member in roles::leader_first(&cluster) {
        let reply = match session.rest.patch(&member, "config", &body).await {
            Ok(reply) => reply,
            Err(error) => {
                warn!("{error}");
                warn!("Member {} is not accessible", member.name);
                continue;
            }
        };
        return match (reply.status, arguments.wait) {
            (200, true) => wait(&herd, &cluster, pause).await,
            (200, false) => succeeded(pause),
            (code, _) => {
                let action = if pause { "pause" } else { "resume" };
                say(format_args!("Failed: {action} cluster management status code={code}, ({})", reply.body))
            }
        };
    }
    Err(Failure::said("Can not find accessible cluster member"))
}

fn succeeded(pause: bool) -> Result<(), Failure> {
    say(format_args!("Success: cluster management is {}", if pause { "paused" } else { "resumed" }))
}

/// Until every member that can be asked publishes the new state, at most one cycle and a second.
async fn wait(herd: &Herd, before: &Cluster, pause: bool) -> Result<(), Failure> {
    let action = if pause { "pause" } else { "resume" };
    say(format_args!("'{action}' request sent, waiting until it is recognized by all nodes"))?;
    let asked: BTreeMap<_, _> = before.members.iter().filter(|(_, m)| m.data.api_url().is_some()).collect();
    let deadline = Instant::now() + before.settings().unwrap_or_default().loop_wait + LOOK_EVERY;
    loop {
        let cluster = herd.load().await?;
        let behind = |m: &&Member| asked.contains_key(&m.name) && m.data.paused() != pause;
        let behind: Vec<&Member> = cluster.members.values().filter(behind).collect();
        if behind.is_empty() {
            return succeeded(pause);
        }
        if Instant::now() + LOOK_EVERY > deadline {
            return give_up(before, &behind, pause);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Members that have not written anything since do not count: they are not there.
fn give_up(before: &Cluster, behind: &[&Member], pause: bool) -> Result<(), Failure> {
    let alive = |m: &&&Member| before.members.get(&m.name).is_some_and(|old| old.revision != m.revision);
    let names: Vec<&str> = behind.iter().filter(alive).map(|member| member.name.as_str()).collect();
    if names.is_empty() {
        return succeeded(pause);
    }
    let loop_wait = before.config.as_ref().and_then(|config| config.value.get("loop_wait"));
    let loop_wait = loop_wait.map_or(DEFAULT_LOOP_WAIT.to_owned(), python::str);
    let names = names.join(", ");
    say(format_args!("{names} members didn't recognized pause state after {loop_wait} seconds"))
}
