//! The frontend side of PostgreSQL's protocol, as far as a supervisor needs it: simple queries with text rows,
//! one deadline per step.

use std::time::Duration;

use super::Target;

/// One row, each column as PostgreSQL prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRow(pub Vec<Option<String>>);

/// Why a connection or query brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {}

/// One connection. Dropping it closes the socket.
pub struct Connection {}

impl Connection {
    /// Connects and authenticates, all within `within`.
    pub async fn open(_target: &Target, _within: Duration) -> Result<Connection, SqlError> {
        todo!()
    }

    /// Runs one statement (or several, parted by semicolons) and returns the rows of the last that had any.
    pub async fn query(&mut self, _sql: &str, _within: Duration) -> Result<Vec<TextRow>, SqlError> {
        todo!()
    }

    /// The server's version number from its greeting, e.g. 150020.
    pub fn server_version(&self) -> u32 {
        todo!()
    }
}
