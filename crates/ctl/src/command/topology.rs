//! `topology`.

use clap::Args;

use super::list::{self, List};
use crate::cli::WatchArgument;
use crate::failure::Failure;
use crate::listing::Style;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    pub cluster_names: Vec<String>,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,

    #[command(flatten)]
    pub watch: WatchArgument,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let list = List { style: Style::Topology, extended: false, timestamp: false };
    list::show(session, &arguments.cluster_names, arguments.group, arguments.watch, list).await
}
