//! One file per command.

pub mod demote_cluster;
pub mod dsn;
pub mod edit_config;
pub mod failover;
pub mod flush;
pub mod history;
pub mod incident;
pub mod list;
pub mod pause;
pub mod promote_cluster;
pub mod query;
pub mod reinit;
pub mod reload;
pub mod remove;
pub mod restart;
pub mod show_config;
pub mod switchover;
pub mod topology;
pub mod version;
pub mod why;

mod diff;
mod handover;
mod standby_cluster;
mod watching;

use crate::cli::{Command, Options};
use crate::config::Config;
use crate::failure::Failure;
use crate::session::Session;

/// Runs the command of the command line.
pub async fn run(options: Options) -> Result<(), Failure> {
    let session = Session::new(Config::load(&options)?);
    match options.command {
        Command::List(arguments) => list::run(&session, arguments).await,
        Command::Topology(arguments) => topology::run(&session, arguments).await,
        Command::Switchover(arguments) => switchover::run(&session, arguments).await,
        Command::Failover(arguments) => failover::run(&session, arguments).await,
        Command::Restart(arguments) => restart::run(&session, arguments).await,
        Command::Reload(arguments) => reload::run(&session, arguments).await,
        Command::Reinit(arguments) => reinit::run(&session, arguments).await,
        Command::Pause(arguments) => pause::run(&session, arguments, true).await,
        Command::Resume(arguments) => pause::run(&session, arguments, false).await,
        Command::ShowConfig(arguments) => show_config::run(&session, arguments).await,
        Command::EditConfig(arguments) => edit_config::run(&session, arguments).await,
        Command::History(arguments) => history::run(&session, arguments).await,
        Command::Version(arguments) => version::run(&session, arguments).await,
        Command::Dsn(arguments) => dsn::run(&session, arguments).await,
        Command::Flush(arguments) => flush::run(&session, arguments).await,
        Command::Remove(arguments) => remove::run(&session, arguments).await,
        Command::Query(arguments) => query::run(&session, arguments).await,
        Command::DemoteCluster(arguments) => demote_cluster::run(&session, arguments).await,
        Command::PromoteCluster(arguments) => promote_cluster::run(&session, arguments).await,
        Command::Incident(arguments) => incident::run(&session, arguments).await,
        Command::Why(arguments) => why::run(&session, arguments).await,
    }
}
