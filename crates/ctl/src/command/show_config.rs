//! `show-config`.

use clap::Args;
use jogi_config::yaml;

use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::output::say;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let cluster = session.herd_of_group(&arguments.cluster)?.load().await?;
    match &cluster.config {
        Some(config) => say(yaml::dump(&config.value)),
        None => Ok(()),
    }
}
