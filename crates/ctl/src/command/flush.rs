//! `flush`.

use clap::{Args, ValueEnum};
use jogi_config::python;
use jogi_core::view::Cluster;
use tracing::warn;

use crate::failure::Failure;
use crate::output::say;
use crate::roles::{self, Role};
use crate::select::Selection;
use crate::session::Session;
use crate::store::Herd;
use crate::time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Restart,
    Switchover,
}

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct Arguments {
    pub cluster_name: String,

    pub member_names: Vec<String>,

    /// What to discard
    #[arg(value_enum)]
    pub target: Target,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,

    /// Flush only members with this role
    #[arg(short, long, value_enum, default_value = "any")]
    pub role: Role,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let herd = session.herd_named(&arguments.cluster_name, arguments.group)?;
    let cluster = herd.load().await?;
    match arguments.target {
        Target::Restart => flush_restarts(session, &arguments, &herd, &cluster).await,
        Target::Switchover => flush_switchover(session, &herd, &cluster).await,
    }
}

async fn flush_restarts(
    session: &Session,
    arguments: &Arguments,
    herd: &Herd,
    cluster: &Cluster,
) -> Result<(), Failure> {
    let Arguments { member_names, role, force, .. } = arguments;
    let selection = Selection { names: member_names, role: *role, force: *force, action: "flush" };
    let members = selection.members(herd, cluster).await?;
    selection.confirm(&members).await?;
    for member in &members {
        let name = &member.name;
        if !member.data.0.get("scheduled_restart").is_some_and(python::is_true) {
            say(format_args!("No scheduled restart for member {name}"))?;
            continue;
        }
        let reply = session.rest.delete(member, "restart").await?;
        match reply.status {
            code if code >= 400 => say(format_args!(
                "Failed: flush scheduled restart for member {name}, status code={code}, ({})",
                reply.body
            ))?,
            _ => say(format_args!("Success: flush scheduled restart for member {name}"))?,
        }
    }
    Ok(())
}

/// By whichever member answers; where none does, in the store.
async fn flush_switchover(session: &Session, herd: &Herd, cluster: &Cluster) -> Result<(), Failure> {
    let request = cluster.failover.as_ref().filter(|key| key.value.scheduled_at.is_some());
    let Some(request) = request else { return say("No pending scheduled switchover") };
    for member in roles::leader_first(cluster) {
        match session.rest.delete(&member, "switchover").await {
            Ok(reply) => match reply.status {
                200 => return say(format_args!("Success: {}", reply.body)),
                404 => return say(format_args!("Failed: {}", reply.body)),
                code => {
                    say(format_args!("Failed: member={}, status_code={code}, ({})", member.name, reply.body))?;
                }
            },
            Err(error) => {
                warn!("{error}");
                warn!("Member {} is not accessible", member.name);
            }
        }
    }
    warn!("Failing over to DCS");
    say(format_args!("{} Could not find any accessible member of cluster {}", time::fine_stamp(), herd.name))?;
    match herd.clear_failover(&request.revision).await? {
        true => Ok(()),
        false => Err(Failure::said("the scheduled switchover has changed meanwhile: nothing was discarded")),
    }
}
