//! `remove`.

use clap::Args;

use crate::failure::Failure;
use crate::listing::{self, Style};
use crate::output::Format;
use crate::prompt;
use crate::session::Session;

const PHRASE: &str = "Yes I am aware";

#[derive(Debug, Args)]
pub struct Arguments {
    pub cluster_name: String,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let name = &arguments.cluster_name;
    let herd = session.herd_named(name, arguments.group)?;
    let cluster = herd.load().await?;
    if herd.citus && herd.group.is_none() {
        return Err(Failure::said("For Citus clusters the --group must me specified"));
    }
    listing::print(&herd, &cluster, Style::Format(arguments.format), false)?;
    if prompt::ask("Please confirm the cluster name to remove", None).await? != *name {
        return Err(Failure::said("Cluster names specified do not match"));
    }
    let question = format!("You are about to remove all information in DCS for {name}, please type: \"{PHRASE}\"");
    if prompt::ask(&question, None).await? != PHRASE {
        return Err(Failure::said(format!("You did not exactly type \"{PHRASE}\"")));
    }
    if let Some(leader) = &cluster.leader {
        let question = "This cluster currently is healthy. Please specify the leader name to continue";
        if prompt::ask(question, None).await? != leader.name.as_str() {
            return Err(Failure::said("You did not specify the current leader of the cluster"));
        }
    }
    herd.remove().await
}
