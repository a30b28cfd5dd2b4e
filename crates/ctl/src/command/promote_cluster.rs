//! `promote-cluster`.

use clap::Args;
use serde_json::Value;

use super::standby_cluster::Change;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    pub cluster_name: Option<String>,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { cluster_name, force } = arguments;
    Change { cluster_name, standby_cluster: Value::Null, force }.run(session).await
}
