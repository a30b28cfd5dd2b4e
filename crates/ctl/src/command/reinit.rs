//! `reinit`.

use std::time::Duration;

use clap::Args;
use jogi_core::view::Member;
use serde_json::{Value, json};

use crate::cli::MembersArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::prompt;
use crate::rest::SHORT;
use crate::roles::Role;
use crate::select::{self, Selection};
use crate::session::Session;

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub members: MembersArgument,

    /// Copy from the leader
    #[arg(long)]
    pub from_leader: bool,

    /// Wait until it is done
    #[arg(long)]
    pub wait: bool,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let MembersArgument { cluster_name, member_names, group, force } = &arguments.members;
    let herd = session.herd_named(cluster_name, *group)?;
    let cluster = herd.load().await?;
    let selection = Selection { names: member_names, role: Role::Replica, force: *force, action: "reinitialize" };
    let members = selection.members(&herd, &cluster).await?;
    selection.confirm(&members).await?;
    let mut begun = Vec::new();
    for member in members {
        if begin(session, &member, *force, arguments.from_leader).await? {
            begun.push(member);
        }
    }
    if arguments.wait { wait(session, begun).await } else { Ok(()) }
}

/// Asks the member, once more when something is under way and may be cancelled. `false`: refused.
async fn begin(session: &Session, member: &Member, force: bool, from_leader: bool) -> Result<bool, Failure> {
    let mut body = json!({"force": force, "from_leader": from_leader});
    let name = &member.name;
    loop {
        let reply = session.rest.post(member, "reinitialize", Some(&body), SHORT).await?;
        if reply.status < 400 {
            say(format_args!("Success: reinitialize for member {name}"))?;
            return Ok(true);
        }
        let (status, text) = (reply.status, reply.body);
        say(format_args!("Failed: reinitialize for member {name}, status code={status}, ({text})"))?;
        let cancel = text.ends_with(" already in progress")
            && !force
            && prompt::confirm("Do you want to cancel it and reinitialize anyway?").await?;
        if !cancel {
            return Ok(false);
        }
        body["force"] = true.into();
    }
}

/// Until each has another state than that of a copy being made. A member that does not answer is asked again.
async fn wait(session: &Session, mut waiting: Vec<Member>) -> Result<(), Failure> {
    let mut shown = String::new();
    while !waiting.is_empty() {
        let names = select::names(&waiting);
        if names != shown {
            say(format_args!("Waiting for reinitialize to complete on: {names}"))?;
            shown = names;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let mut left = Vec::new();
        for member in waiting {
            match is_copying(session, &member).await {
                true => left.push(member),
                false => say(format_args!("Reinitialize is completed on: {}", member.name))?,
            }
        }
        waiting = left;
    }
    Ok(())
}

async fn is_copying(session: &Session, member: &Member) -> bool {
    match session.rest.get(member, "patroni").await {
        Ok(reply) => match reply.json().get("state").and_then(Value::as_str) {
            Some(state) => state == "creating replica",
            None => true,
        },
        Err(error) => {
            tracing::warn!("{error}");
            true
        }
    }
}
