//! `switchover`.

use clap::Args;

use super::handover::{Handover, Kind};
use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// The name of the current leader
    #[arg(long, visible_alias = "primary")]
    pub leader: Option<String>,

    /// The name of the candidate
    #[arg(long)]
    pub candidate: Option<String>,

    /// When to switch over, in an unambiguous format (e.g. ISO 8601)
    #[arg(long, value_name = "TIME")]
    pub scheduled: Option<String>,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { cluster, leader, candidate, scheduled, force } = arguments;
    Handover { kind: Kind::Switchover, leader, candidate, scheduled, force }.run(session, &cluster).await
}
