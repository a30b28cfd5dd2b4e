//! One look at our own server: data directory, process, and one query.

use std::collections::BTreeMap;
use std::time::Duration;

use jogi_config::postgres::Setting;
use jogi_core::Tick;
use jogi_core::ha::Server;

use crate::connect::{Connection, Purpose, SqlError};
use crate::instance::Instance;

/// What the looker cannot see by itself.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The boot clock before the look.
    pub looked_at: Tick,
    /// The postmaster that the guard started; another one is shown as adopted.
    pub child: Option<u32>,
    /// An intent stands for the data directory: it is not to be trusted. The text says which.
    pub intent: Option<String>,
}

/// Looks at one server again and again; keeps its connection and what does not change in between.
pub struct Looker {}

impl Looker {
    pub fn new(_purpose: Purpose) -> Looker {
        todo!()
    }

    /// Looks, within `within`. Never fails: what could not be seen is said in the result.
    pub async fn look(&mut self, _instance: &Instance, _known: &Known, _within: Duration) -> Server {
        todo!()
    }

    /// Forgets the kept connection (after a restart of the server, or when its address changed).
    pub fn reset(&mut self) {
        todo!()
    }
}

/// What a running server has in force.
#[derive(Clone, Debug, Default)]
pub struct Running {
    pub version: u32,
    pub in_recovery: bool,
    pub settings: BTreeMap<String, Setting>,
}

/// Asks a running server for all its settings.
pub async fn running(_connection: &mut Connection, _within: Duration) -> Result<Running, SqlError> {
    todo!()
}
