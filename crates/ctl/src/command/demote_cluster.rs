//! `demote-cluster`.

use clap::Args;
use serde_json::{Map, Value};

use super::standby_cluster::Change;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Arguments {
    pub cluster_name: Option<String>,

    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,

    /// Address of the remote node
    #[arg(long)]
    pub host: Option<String>,

    /// Port of the remote node
    #[arg(long)]
    pub port: Option<u16>,

    /// Command to restore WAL of the remote primary
    #[arg(long)]
    pub restore_command: Option<String>,

    /// Name of the slot on the remote node to stream from
    #[arg(long)]
    pub primary_slot_name: Option<String>,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { cluster_name, force, host, port, restore_command, primary_slot_name } = arguments;
    let text = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Value::from);
    let (host, port, restore_command) = (text(host), port.filter(|port| *port > 0), text(restore_command));
    if host.is_none() && port.is_none() && restore_command.is_none() {
        return Err(Failure::said("At least --host, --port or --restore-command should be specified"));
    }
    let options = [
        ("host", host),
        ("port", port.map(Value::from)),
        ("primary_slot_name", text(primary_slot_name)),
        ("restore_command", restore_command),
    ];
    let given: Map<String, Value> =
        options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Change { cluster_name, standby_cluster: Value::Object(given), force }.run(session).await
}
