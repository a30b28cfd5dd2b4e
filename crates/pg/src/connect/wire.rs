//! The frontend side of PostgreSQL's protocol, as far as a supervisor needs it: simple queries with text rows,
//! one deadline per step. Also over a physical replication connection.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::login::login;
use super::tls::{self, Mode, Plan};
use super::{Address, Target};

/// The largest answer that is taken: our own queries bring a few kilobytes, a history file or a configuration
/// file at most some megabytes.
const ANSWER_MAX: usize = 16 << 20;
/// PostgreSQL's `ERRCODE_CANNOT_CONNECT_NOW`.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// One row, each column as PostgreSQL prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRow(pub Vec<Option<String>>);

impl TextRow {
    /// A column that is there and not null.
    pub fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }
}

/// What the server reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, self.message, self.sqlstate)?;
        match &self.detail {
            Some(detail) => write!(f, ", {detail}"),
            None => Ok(()),
        }
    }
}

/// Why a connection or query brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("cannot connect to PostgreSQL at {server}: {cause}")]
    Unreachable { server: String, cause: String },
    #[error("PostgreSQL at {server} did not answer within {within:?} ({doing})")]
    TimedOut { server: String, doing: &'static str, within: Duration },
    #[error("PostgreSQL at {server} does not let {user} in: {error}")]
    Rejected { server: String, user: String, error: Box<ServerError> },
    #[error("cannot log in to PostgreSQL at {server} as {user}: {cause}")]
    Login { server: String, user: String, cause: String },
    #[error("TLS with PostgreSQL at {server} failed: {cause}")]
    Tls { server: String, cause: String },
    #[error("PostgreSQL at {server} reported: {error}")]
    Failed { server: String, error: Box<ServerError> },
    #[error("the connection to PostgreSQL at {server} broke: {cause}")]
    Lost { server: String, cause: String },
}

impl SqlError {
    /// The server runs and says that it takes no connections now: it starts, stops, or is not yet consistent.
    pub fn is_not_yet(&self) -> bool {
        self.sqlstate() == Some(CANNOT_CONNECT_NOW)
    }

    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            SqlError::Rejected { error, .. } | SqlError::Failed { error, .. } => Some(&error.sqlstate),
            SqlError::Unreachable { .. }
            | SqlError::TimedOut { .. }
            | SqlError::Login { .. }
            | SqlError::Tls { .. }
            | SqlError::Lost { .. } => None,
        }
    }

    /// The server itself answered, be it with an error.
    pub fn is_answer(&self) -> bool {
        match self {
            SqlError::Rejected { .. } | SqlError::Failed { .. } | SqlError::Login { .. } => true,
            SqlError::Unreachable { .. } | SqlError::TimedOut { .. } | SqlError::Tls { .. } | SqlError::Lost { .. } => {
                false
            }
        }
    }
}

impl From<SqlError> for jogi_core::ha::Failure {
    fn from(error: SqlError) -> Self {
        match error.is_answer() {
            true => jogi_core::ha::Failure::Failed(error.to_string()),
            false => jogi_core::ha::Failure::Unreachable(error.to_string()),
        }
    }
}

/// `'text'`, also with a leading ` E` when it holds backslashes.
pub fn quote_literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text).trim_start().to_owned()
}

/// `"name"`.
pub fn quote_identifier(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

impl Stream {
    fn duplex(&mut self) -> &mut dyn Duplex {
        match self {
            Stream::Unix(stream) => stream,
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream,
        }
    }
}

/// One connection. Dropping it closes the socket; an error other than [`SqlError::Failed`] makes it useless.
pub struct Connection {
    stream: Stream,
    /// What has been received and not yet been looked at.
    received: BytesMut,
    server: String,
    user: String,
    version: u32,
    backend: Option<(i32, i32)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects and authenticates, all within `within`.
    pub async fn open(target: &Target, within: Duration) -> Result<Connection, SqlError> {
        let timed_out = || SqlError::TimedOut { server: target.address.to_string(), doing: "connecting", within };
        timeout(within, Connection::open_any(target)).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Tries the hosts in order; the last error is the one that is reported.
    async fn open_any(target: &Target) -> Result<Connection, SqlError> {
        let Address::Tcp(hosts, port) = &target.address else {
            return Connection::open_one(target, &target.address).await;
        };
        let mut last = None;
        for host in hosts.split(',').map(str::trim) {
            match Connection::open_one(target, &Address::Tcp(host.to_owned(), *port)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        let server = target.address.to_string();
        Err(last.unwrap_or(SqlError::Unreachable { server, cause: "no host is given".to_owned() }))
    }

    async fn open_one(target: &Target, address: &Address) -> Result<Connection, SqlError> {
        let server = address.to_string();
        let plan = Plan::of(target).map_err(|cause| SqlError::Tls { server: server.clone(), cause })?;
        let encrypted = plan.mode != Mode::Never && plan.mode != Mode::OnDemand;
        match Connection::start(target, address, &plan, encrypted).await {
            // The second chance of `allow` (with TLS) and of `prefer` (without).
            Err(SqlError::Rejected { error, .. }) if plan.mode == Mode::OnDemand && !error.sqlstate.is_empty() => {
                Connection::start(target, address, &plan, true).await
            }
            Err(SqlError::Tls { .. }) if plan.mode == Mode::Preferred => {
                Connection::start(target, address, &plan, false).await
            }
            result => result,
        }
    }

    async fn start(target: &Target, address: &Address, plan: &Plan, encrypted: bool) -> Result<Connection, SqlError> {
        let server = address.to_string();
        let unreachable = |e: io::Error| SqlError::Unreachable { server: server.clone(), cause: e.to_string() };
        let stream = match address {
            Address::Unix(dir, port) => {
                Stream::Unix(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await.map_err(unreachable)?)
            }
            Address::Tcp(host, port) => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                let _ = tcp.set_nodelay(true);
                match encrypted {
                    true => encrypt(tcp, target, host, plan, &server).await?,
                    false => Stream::Tcp(tcp),
                }
            }
        };
        let mut connection = Connection {
            stream,
            received: BytesMut::new(),
            server,
            user: target.user.clone(),
            version: 0,
            backend: None,
        };
        connection.greet(target).await?;
        Ok(connection)
    }

    async fn greet(&mut self, target: &Target) -> Result<(), SqlError> {
        let options = target.options();
        let mut parameters = vec![
            ("user", target.user.as_str()),
            ("database", target.database.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", target.application_name.as_str()),
        ];
        if !options.is_empty() {
            parameters.push(("options", &options));
        }
        if target.replication {
            parameters.push(("replication", "true"));
        }
        let mut message = BytesMut::new();
        frontend::startup_message(parameters, &mut message).map_err(|e| self.login_failed(&e.to_string()))?;
        self.send(&message).await?;
        login(self, target).await?;
        loop {
            match self.receive().await? {
                Message::ReadyForQuery(_) => return Ok(()),
                Message::BackendKeyData(body) => self.backend = Some((body.process_id(), body.secret_key())),
                Message::ParameterStatus(body) if body.name().is_ok_and(|name| name == "server_version") => {
                    self.version = body.value().ok().and_then(crate::binaries::version_number).unwrap_or(0);
                }
                Message::ErrorResponse(body) => return Err(self.rejected(&body)),
                _ => {}
            }
        }
    }

    /// Runs one statement (or several, parted by semicolons) and returns all their rows.
    pub async fn query(&mut self, sql: &str, within: Duration) -> Result<Vec<TextRow>, SqlError> {
        let timed_out = SqlError::TimedOut { server: self.server.clone(), doing: "running a query", within };
        timeout(within, self.run(sql)).await.unwrap_or(Err(timed_out))
    }

    async fn run(&mut self, sql: &str) -> Result<Vec<TextRow>, SqlError> {
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message).map_err(|e| self.lost(&e.to_string()))?;
        self.send(&message).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.receive().await? {
                Message::DataRow(body) => rows.push(self.row(&body)?),
                Message::ErrorResponse(body) => {
                    let error = server_error(&body);
                    // A fatal error ends the connection; nothing follows it.
                    if matches!(error.severity.as_str(), "FATAL" | "PANIC") {
                        return Err(self.lost(&error.to_string()));
                    }
                    failed = Some(error);
                }
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        match failed {
            None => Ok(rows),
            Some(error) => Err(SqlError::Failed { server: self.server.clone(), error: Box::new(error) }),
        }
    }

    fn row(&self, body: &DataRowBody) -> Result<TextRow, SqlError> {
        let bytes = body.buffer();
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range]).into_owned();
        let columns = body.ranges().map(|range| Ok(range.map(text))).collect();
        Ok(TextRow(columns.map_err(|e| self.lost(&e.to_string()))?))
    }

    /// The server's version number from its greeting, e.g. 150020.
    pub fn server_version(&self) -> u32 {
        self.version
    }

    /// Asks the server, over a connection of its own, to give up what this one does. Best effort; not over TLS,
    /// where only the number of a backend and its one-time key would be protected.
    pub async fn cancel(&self, target: &Target, within: Duration) {
        let Some((process, key)) = self.backend else { return };
        let mut message = BytesMut::new();
        frontend::cancel_request(process, key, &mut message);
        let _ = timeout(within, send_alone(&target.address, &message)).await;
    }

    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Unix(_) | Stream::Tcp(_) => None,
            Stream::Tls(stream) => tls::end_point(stream.get_ref().1.peer_certificates()?.first()?),
        }
    }

    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), SqlError> {
        let stream = self.stream.duplex();
        let sent: io::Result<()> = async {
            stream.write_all(message).await?;
            stream.flush().await
        }
        .await;
        sent.map_err(|e| self.lost(&e.to_string()))
    }

    pub(super) async fn receive(&mut self) -> Result<Message, SqlError> {
        loop {
            match Message::parse(&mut self.received) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) if self.received.len() > ANSWER_MAX => return Err(self.lost("the answer is too long")),
                Ok(None) => {}
                Err(e) => return Err(self.lost(&e.to_string())),
            }
            match self.stream.duplex().read_buf(&mut self.received).await {
                Ok(0) => return Err(self.lost("the server closed it")),
                Ok(_) => {}
                Err(e) => return Err(self.lost(&e.to_string())),
            }
        }
    }

    pub(crate) fn lost(&self, cause: &str) -> SqlError {
        SqlError::Lost { server: self.server.clone(), cause: cause.to_owned() }
    }

    pub(super) fn login_failed(&self, cause: &str) -> SqlError {
        SqlError::Login { server: self.server.clone(), user: self.user.clone(), cause: cause.to_owned() }
    }

    pub(super) fn rejected(&self, body: &ErrorResponseBody) -> SqlError {
        SqlError::Rejected { server: self.server.clone(), user: self.user.clone(), error: Box::new(server_error(body)) }
    }
}

async fn encrypt(
    mut tcp: TcpStream,
    target: &Target,
    host: &str,
    plan: &Plan,
    server: &str,
) -> Result<Stream, SqlError> {
    let failed = |cause: String| SqlError::Tls { server: server.to_owned(), cause };
    if !plan.direct && !agreed(&mut tcp).await.map_err(|e| failed(e.to_string()))? {
        return match plan.mode {
            Mode::Required => Err(failed("the server does not offer it and sslmode requires it".to_owned())),
            Mode::Never | Mode::OnDemand | Mode::Preferred => Ok(Stream::Tcp(tcp)),
        };
    }
    let config = tls::client_config(target).map_err(failed)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(e.to_string()))?;
    let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|e| failed(e.to_string()))?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// SSLRequest: whether the server goes on with a handshake.
async fn agreed(tcp: &mut TcpStream) -> io::Result<bool> {
    let mut message = BytesMut::new();
    frontend::ssl_request(&mut message);
    tcp.write_all(&message).await?;
    Ok(tcp.read_u8().await? == b'S')
}

async fn send_alone(address: &Address, message: &[u8]) -> io::Result<()> {
    async fn send_and_wait(mut stream: impl Duplex, message: &[u8]) -> io::Result<()> {
        stream.write_all(message).await?;
        let _ = stream.read(&mut [0; 1]).await?;
        Ok(())
    }
    match address {
        Address::Unix(dir, port) => {
            send_and_wait(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?, message).await
        }
        Address::Tcp(host, port) => send_and_wait(TcpStream::connect((host.as_str(), *port)).await?, message).await,
    }
}

fn server_error(body: &ErrorResponseBody) -> ServerError {
    let mut error = ServerError::default();
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => error.severity = value,
            b'S' if error.severity.is_empty() => error.severity = value,
            b'C' => error.sqlstate = value,
            b'M' => error.message = value,
            b'D' => error.detail = Some(value),
            _ => {}
        }
    }
    error
}
