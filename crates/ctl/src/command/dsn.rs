//! `dsn`.

use clap::Args;

use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::roles::{self, Role};
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// Of any member with this role
    #[arg(short, long, value_enum)]
    pub role: Option<Role>,

    /// Of this member
    #[arg(short, long)]
    pub member: Option<String>,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let cluster = session.herd(&arguments.cluster)?.load().await?;
    let member = roles::one(&cluster, arguments.role, arguments.member.as_deref())?;
    match member.and_then(|member| member.data.address()) {
        Some((host, port)) => say(format_args!("host={host} port={port}")),
        None => Err(Failure::said("Can not find a suitable member")),
    }
}
