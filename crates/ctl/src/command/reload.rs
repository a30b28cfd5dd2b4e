//! `reload`.

use clap::Args;
use jogi_config::python;

use crate::cli::MembersArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::rest::SHORT;
use crate::roles::Role;
use crate::select::Selection;
use crate::session::Session;

/// Used where the cluster's configuration does not say.
pub(super) const DEFAULT_LOOP_WAIT: &str = "10";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub members: MembersArgument,

    /// Reload only members with this role
    #[arg(short, long, value_enum, default_value = "any")]
    pub role: Role,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let MembersArgument { cluster_name, member_names, group, force } = arguments.members;
    let herd = session.herd_named(&cluster_name, group)?;
    let cluster = herd.load().await?;
    let selection = Selection { names: &member_names, role: arguments.role, force, action: "reload" };
    let members = selection.members(&herd, &cluster).await?;
    selection.confirm(&members).await?;
    let config = cluster.config.as_ref().map(|config| &config.value);
    let loop_wait = config.and_then(|config| config.get("loop_wait")).filter(|wait| python::is_true(wait));
    let loop_wait = loop_wait.map_or(DEFAULT_LOOP_WAIT.to_owned(), python::str);
    for member in &members {
        let reply = session.rest.post(member, "reload", None, SHORT).await?;
        let name = &member.name;
        match reply.status {
            200 => say(format_args!("No changes to apply on member {name}"))?,
            202 => say(format_args!(
                "Reload request received for member {name} and will be processed within {loop_wait} seconds"
            ))?,
            code => say(format_args!("Failed: reload for member {name}, status code={code}, ({})", reply.body))?,
        }
    }
    Ok(())
}
