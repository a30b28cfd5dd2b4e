//! A session with a PostgreSQL server for tests: blocking, every step with a deadline, rows as text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// A client whose server's host is cut off must notice soon: the server can no longer acknowledge, and the client is
/// wanted elsewhere.
const UNACKNOWLEDGED: Duration = Duration::from_millis(1500);
const KEEPALIVE: Duration = Duration::from_secs(1);

/// One row, each column as PostgreSQL prints it.
pub type Row = Vec<Option<String>>;

/// How to get to a server.
#[derive(Clone, Debug)]
pub enum Door {
    /// The directory of its socket, and its port. Needs no network.
    Socket(PathBuf, u16),
    Tcp(SocketAddr),
}

/// Who knocks.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: String,
    /// Shown in `pg_stat_activity`; by it a session's server process is found.
    pub application: String,
}

/// What the server said, or why it said nothing.
#[derive(Clone, Debug)]
pub struct SqlError {
    /// SQLSTATE; `None` when the server did not answer.
    pub code: Option<String>,
    pub text: String,
}

impl SqlError {
    fn silent(text: impl Into<String>) -> SqlError {
        SqlError { code: None, text: text.into() }
    }

    /// The server is a standby: 25006, read_only_sql_transaction.
    pub fn is_read_only(&self) -> bool {
        self.code.as_deref() == Some("25006")
    }

    /// The session goes on after this error.
    pub fn session_survives(&self) -> bool {
        self.code.as_deref().is_some_and(|c| !c.starts_with("57P") && !c.starts_with("08"))
    }
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> SqlError {
        match error.as_db_error() {
            Some(db) => SqlError { code: Some(db.code().code().to_owned()), text: db.message().to_owned() },
            None => SqlError::silent(chain(&error)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// An open session on the database `postgres`.
pub struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    /// Connects from where the calling thread is: enter a network namespace first to come from there.
    pub fn open(door: &Door, login: &Login, within: Duration) -> Result<Session, SqlError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SqlError::silent(format!("no runtime for a session: {e}")))?;
        let config = config(door, login, within);
        let connected = runtime.block_on(async { timeout(within, config.connect(NoTls)).await });
        let (client, connection) =
            connected.map_err(|_| SqlError::silent(format!("no connection within {within:?}")))??;
        runtime.spawn(connection);
        Ok(Session { client, runtime })
    }

    /// Runs one statement, or several parted by semicolons, and returns the rows of all.
    pub fn run(&self, sql: &str, within: Duration) -> Result<Vec<Row>, SqlError> {
        let answer = self.runtime.block_on(async { timeout(within, self.client.simple_query(sql)).await });
        let messages = answer.map_err(|_| SqlError::silent(format!("no answer within {within:?}")))??;
        Ok(messages.iter().filter_map(row).collect())
    }
}

fn config(door: &Door, login: &Login, within: Duration) -> Config {
    let mut config = Config::new();
    config.user(&login.user).password(&login.password).dbname("postgres").application_name(&login.application);
    config.connect_timeout(within).tcp_user_timeout(UNACKNOWLEDGED);
    config.keepalives(true).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(1);
    match door {
        Door::Socket(dir, port) => config.host_path(dir).port(*port),
        Door::Tcp(address) => config.hostaddr(address.ip()).port(address.port()),
    };
    config
}

fn row(message: &SimpleQueryMessage) -> Option<Row> {
    match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
        _ => None,
    }
}

/// The door of a server on a host.
pub fn tcp(ip: impl Into<IpAddr>, port: u16) -> Door {
    Door::Tcp(SocketAddr::new(ip.into(), port))
}

/// The door of a server on this machine, by its socket.
pub fn socket(dir: &Path, port: u16) -> Door {
    Door::Socket(dir.to_owned(), port)
}
