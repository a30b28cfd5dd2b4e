//! `restart`.

use clap::Args;
use jogi_config::{Moment, python};
use jogi_core::view::{Cluster, Member};
use jogi_net::random_u64;
use serde_json::{Map, Value};

use crate::cli::MembersArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::prompt;
use crate::rest::{RESTART, Reply};
use crate::roles::Role;
use crate::select::{self, Selection};
use crate::session::Session;
use crate::time;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub members: MembersArgument,

    /// Restart only members with this role
    #[arg(short, long, value_enum, default_value = "any")]
    pub role: Role,

    /// Restart a single member only
    #[arg(long)]
    pub any: bool,

    /// When to restart, in an unambiguous format (e.g. ISO 8601)
    #[arg(long, value_name = "TIME")]
    pub scheduled: Option<String>,

    /// Restart if the PostgreSQL version is less than this (e.g. 9.5.2)
    #[arg(long, value_name = "VERSION")]
    pub pg_version: Option<String>,

    /// Restart if a restart is pending
    #[arg(long)]
    pub pending: bool,

    /// Return an error, and fail over if necessary, when restarting takes longer than this
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<String>,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let MembersArgument { cluster_name, member_names, group, force } = &arguments.members;
    let herd = session.herd_named(cluster_name, *group)?;
    let cluster = herd.load().await?;
    let selection = Selection { names: member_names, role: arguments.role, force: *force, action: "restart" };
    let mut members = selection.members(&herd, &cluster).await?;
    let at = when(&arguments).await?;
    if arguments.pending && at.is_none() {
        members.retain(|member| member.data.0.get("pending_restart").is_some_and(python::is_true));
    }
    if arguments.any && members.len() > 1 {
        let chosen = random_u64() as usize % members.len();
        members = vec![members.swap_remove(chosen)];
    }
    confirm(&selection, &members, at.as_ref(), arguments.pending).await?;
    let body = request(&arguments, at.as_ref(), &cluster).await?;
    for member in &members {
        restart(session, member, &body, *force).await?;
    }
    Ok(())
}

async fn when(arguments: &Arguments) -> Result<Option<Moment>, Failure> {
    let asked = match (&arguments.scheduled, arguments.members.force) {
        (None, false) => {
            let question = format!("When should the restart take place (e.g. {}) ", time::next_hour());
            Some(prompt::ask(&question, Some("now")).await?)
        }
        (given, _) => given.clone(),
    };
    time::scheduled(asked.as_deref())
}

async fn confirm(
    selection: &Selection<'_>,
    members: &[Member],
    at: Option<&Moment>,
    pending: bool,
) -> Result<(), Failure> {
    let Some(at) = at else { return selection.confirm(members).await };
    let question = match pending {
        true => "The nodes needing a restart will be identified at the scheduled time, and might be different from the ones showing pending restart right now. Is this fine?".to_owned(),
        false => {
            format!("Are you sure you want to schedule restart of members {} at {}?", select::names(members), at.spaced())
        }
    };
    match selection.force || prompt::confirm(&question).await? {
        true => Ok(()),
        false => Err(Failure::said("Aborted scheduled restart")),
    }
}

/// The body of the request; asks for a version where nobody gave one.
async fn request(arguments: &Arguments, at: Option<&Moment>, cluster: &Cluster) -> Result<Value, Failure> {
    let version = match (&arguments.pg_version, arguments.members.force) {
        (None, false) => {
            let question = "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2) ";
            Some(prompt::ask(question, Some("")).await?)
        }
        (given, _) => given.clone(),
    };
    let mut body = Map::new();
    if arguments.pending {
        body.insert("restart_pending".into(), true.into());
    }
    if let Some(version) = version.filter(|version| !version.is_empty()) {
        check_version(&version)?;
        body.insert("postgres_version".into(), version.into());
    }
    if let Some(at) = at {
        if cluster.settings().is_some_and(|settings| settings.pause) {
            return Err(Failure::said("Can't schedule restart in the paused state"));
        }
        body.insert("schedule".into(), at.isoformat().into());
    }
    if let Some(timeout) = &arguments.timeout {
        body.insert("timeout".into(), timeout.as_str().into());
    }
    Ok(Value::Object(body))
}

/// `X.Y` from 10 on, `X.Y.Z` also before.
fn check_version(version: &str) -> Result<(), Failure> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.trim().parse().ok()).collect();
    match parts.as_deref() {
        None => Err(Failure::said(format!("Invalid PostgreSQL version: {version}"))),
        Some([major, _]) if *major >= 10 => Ok(()),
        Some([_, _, _]) => Ok(()),
        Some(_) => {
            Err(Failure::said(format!("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: {version}")))
        }
    }
}

async fn restart(session: &Session, member: &Member, body: &Value, force: bool) -> Result<(), Failure> {
    let replaces =
        body.get("schedule").is_some() && force && member.data.0.get("scheduled_restart").is_some_and(python::is_true);
    let name = &member.name;
    if replaces {
        let Reply { status, body } = session.rest.delete(member, "restart").await?;
        if status >= 400 {
            say(format_args!("Failed: flush scheduled restart for member {name}, status code={status}, ({body})"))?;
        }
    }
    let reply = session.rest.post(member, "restart", Some(body), RESTART).await?;
    match reply.status {
        200 => say(format_args!("Success: restart on member {name}")),
        202 => say(format_args!("Success: restart scheduled on member {name}")),
        409 => say(format_args!("Failed: another restart is already scheduled on member {name}")),
        code => say(format_args!("Failed: restart for member {name}, status code={code}, ({})", reply.body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_checked_as_patroni_does() {
        for (version, error) in [
            ("9.5.2", None),
            ("10.1", None),
            ("10", Some("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 10")),
            ("9.6", Some("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6")),
            ("1.2.3.4", Some("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 1.2.3.4")),
            ("a.b", Some("Invalid PostgreSQL version: a.b")),
        ] {
            assert_eq!(check_version(version).err().map(|e| e.to_string()).as_deref(), error, "{version}");
        }
    }
}
