//! `list`.

use clap::Args;
use tracing::warn;

use super::watching::Watching;
use crate::cli::WatchArgument;
use crate::failure::Failure;
use crate::listing::{self, Style};
use crate::output::{Format, say};
use crate::session::Session;
use crate::store::Herd;
use crate::time;

#[derive(Debug, Args)]
pub struct Arguments {
    pub cluster_names: Vec<String>,

    /// Citus group
    #[arg(long)]
    pub group: Option<i64>,

    /// Show some extra information
    #[arg(short, long)]
    pub extended: bool,

    /// Print the time
    #[arg(short, long)]
    pub timestamp: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,

    #[command(flatten)]
    pub watch: WatchArgument,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { cluster_names, group, extended, timestamp, format, watch } = arguments;
    let list = List { style: Style::Format(format), extended, timestamp };
    show(session, &cluster_names, group, watch, list).await
}

/// How the list is printed.
pub(super) struct List {
    pub style: Style,
    pub extended: bool,
    pub timestamp: bool,
}

pub(super) async fn show(
    session: &Session,
    names: &[String],
    group: Option<i64>,
    watch: WatchArgument,
    list: List,
) -> Result<(), Failure> {
    let names = if names.is_empty() { session.config.scope.as_slice() } else { names };
    if names.is_empty() {
        warn!("Listing members: No cluster names were provided");
        return Ok(());
    }
    let herds = names.iter().map(|name| session.herd_named(name, group)).collect::<Result<Vec<Herd>, Failure>>()?;
    let mut watching = Watching::new(watch, true);
    while watching.next().await? {
        if list.timestamp {
            say(time::stamp())?;
        }
        for herd in &herds {
            listing::print(herd, &*herd.load().await?, list.style, list.extended)?;
        }
    }
    Ok(())
}
