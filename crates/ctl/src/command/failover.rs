//! `failover`.

use clap::Args;

use super::handover::{Handover, Kind};
use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// The name of the candidate
    #[arg(long)]
    pub candidate: Option<String>,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { cluster, candidate, force } = arguments;
    Handover { kind: Kind::Failover, leader: None, candidate, scheduled: None, force }.run(session, &cluster).await
}
