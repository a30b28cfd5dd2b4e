//! `query`: SQL on one member.
//!
//! Values are printed as Python's driver and `str` make them (`True`, `None`); numbers and truths are that also in
//! JSON. Everything that goes wrong with the server is a row with the time and a message, and exit code 0.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jogi_core::view::{Cluster, Member};
use jogi_net::tls::ClientTls;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::watching::Watching;
use crate::cli::{ClusterArgument, WatchArgument};
use crate::failure::Failure;
use crate::output::{Format, Rows, say};
use crate::prompt;
use crate::roles::{self, Role};
use crate::session::Session;
use crate::time;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const APPLICATION_NAME: &str = "Patroni ctl";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArgument,

    /// Output format
    #[arg(long, value_enum, default_value = "tsv")]
    pub format: Format,

    /// Run the SQL of this file; - is stdin
    #[arg(short, long, value_parser = readable)]
    pub file: Option<PathBuf>,

    /// Ask for a password
    #[arg(long)]
    pub password: bool,

    /// User of the database [default: PGUSER, else who you are]
    #[arg(short = 'U', long)]
    pub username: Option<String>,

    #[command(flatten)]
    pub watch: WatchArgument,

    /// A member with this role
    #[arg(short, long, value_enum)]
    pub role: Option<Role>,

    /// This member
    #[arg(short, long)]
    pub member: Option<String>,

    /// What parts columns in tsv
    #[arg(long, default_value = "\t", hide_default_value = true)]
    pub delimiter: String,

    /// The SQL to run
    #[arg(short, long, value_name = "SQL")]
    pub command: Option<String>,

    /// Database to connect to [default: PGDATABASE, else the user's name]
    #[arg(short, long)]
    pub dbname: Option<String>,
}

pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let sql = arguments.sql()?;
    let password = match arguments.password {
        true => Some(prompt::ask_hidden("Password").await?),
        false => None,
    };
    let herd = session.herd(&arguments.cluster)?;
    let mut cluster = None;
    let mut watching = Watching::new(arguments.watch, false);
    while watching.next().await? {
        let cluster = match &cluster {
            Some(cluster) => std::sync::Arc::clone(cluster),
            None => std::sync::Arc::clone(cluster.insert(herd.load().await?)),
        };
        let rows = match arguments.ask(&cluster, password.as_deref(), &sql).await? {
            Ok(rows) => rows,
            Err(message) => failed(&message),
        };
        // A statement without a result says nothing, as it has nothing to say.
        if rows != Rows::default() {
            say(rows.render(arguments.format, &arguments.delimiter))?;
        }
    }
    Ok(())
}

/// A file that cannot be opened is a mistake on the command line.
fn readable(name: &str) -> Result<PathBuf, std::io::Error> {
    if name != "-" {
        std::fs::File::open(name)?;
    }
    Ok(name.into())
}

impl Arguments {
    fn sql(&self) -> Result<String, Failure> {
        match (&self.file, &self.command) {
            (Some(_), Some(_)) => Err(Failure::said("--file and --command are mutually exclusive options")),
            (None, None) => Err(Failure::said("You need to specify either --command or --file")),
            (None, Some(sql)) => Ok(sql.clone()),
            (Some(file), None) => {
                let read = match file.as_os_str() == "-" {
                    true => std::io::read_to_string(std::io::stdin()),
                    false => std::fs::read_to_string(file),
                };
                read.map_err(|error| Failure::said(format!("cannot read {}: {error}", file.display())))
            }
        }
    }

    /// Rows, or what is to be told instead.
    async fn ask(&self, cluster: &Cluster, password: Option<&str>, sql: &str) -> Result<Result<Rows, String>, Failure> {
        let Some(member) = roles::one(cluster, self.role, self.member.as_deref())? else {
            return Ok(Err(self.nobody()));
        };
        let connection = match self.connect(&member, password).await {
            Ok(connection) => connection,
            Err(message) => return Ok(Err(message)),
        };
        let client = &connection.client;
        let answer = match self.is_meant(client).await {
            Ok(true) => run_sql(client, sql).await.map_err(|error| describe(&error)),
            Ok(false) => Err(self.nobody()),
            Err(error) => Err(describe(&error)),
        };
        Ok(answer)
    }

    fn nobody(&self) -> String {
        match (&self.member, self.role) {
            (Some(member), _) => format!("No connection to member {member} is available"),
            (None, Some(role)) => format!("No connection to role '{}' is available", role.as_str()),
            (None, None) => "No connection is available".to_owned(),
        }
    }

    /// Credentials are those of the command line, else libpq's variables and password file.
    async fn connect(&self, member: &Member, password: Option<&str>) -> Result<Connection, String> {
        let (host, port) = member.data.address().ok_or_else(|| self.nobody())?;
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let user = self.username.clone().or_else(|| variable("PGUSER")).or_else(|| variable("USER"));
        let user = user.unwrap_or_else(|| "postgres".to_owned());
        let database = self.dbname.clone().or_else(|| variable("PGDATABASE")).unwrap_or_else(|| user.clone());
        let password = password.map(str::to_owned).or_else(|| variable("PGPASSWORD"));
        let password = password.or_else(|| passfile().and_then(|text| look_up(&text, &host, port, &database, &user)));
        let (ssl_mode, tls) = encryption(variable("PGSSLMODE").as_deref(), variable("PGSSLROOTCERT"))?;
        let mut config = tokio_postgres::Config::new();
        config.host(&host).port(port).user(&user).dbname(&database).ssl_mode(ssl_mode);
        config.application_name(APPLICATION_NAME).connect_timeout(CONNECT_WITHIN);
        if let Some(password) = password {
            config.password(password);
        }
        let connecting = tokio::time::timeout(CONNECT_WITHIN, config.connect(MakeRustlsConnect::new(tls)));
        match connecting.await {
            Ok(Ok((client, connection))) => {
                let task = tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        debug!("the connection ended: {error}");
                    }
                });
                Ok(Connection { client, task })
            }
            Ok(Err(error)) => Err(match error.as_db_error() {
                // There is no code before there is a connection: libpq tells it in words.
                Some(refusal) => format!(
                    "ERROR, SQLSTATE: connection to server at \"{host}\", port {port} failed: {}:  {}",
                    refusal.severity(),
                    refusal.message()
                ),
                None => describe(&error),
            }),
            Err(_) => {
                Err(format!("ERROR, SQLSTATE: {host}:{port} did not answer within {} s", CONNECT_WITHIN.as_secs()))
            }
        }
    }

    /// Roles other than the leader's are the server's own word.
    async fn is_meant(&self, client: &Client) -> Result<bool, Error> {
        let wants_recovery = match self.role {
            None | Some(Role::Any | Role::Leader) => return Ok(true),
            Some(Role::Replica | Role::Standby | Role::StandbyLeader) => true,
            Some(Role::Primary) => false,
        };
        let in_recovery: bool = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?.get(0);
        Ok(in_recovery == wants_recovery)
    }
}

/// Ends with this value.
struct Connection {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As libpq's `sslmode`: `prefer` when nothing is said.
fn encryption(mode: Option<&str>, root: Option<String>) -> Result<(SslMode, rustls::ClientConfig), String> {
    use jogi_net::tls::Verify;
    let (mode, verify) = match mode {
        Some("disable") => (SslMode::Disable, Verify::Nothing),
        None | Some("allow" | "prefer") => (SslMode::Prefer, Verify::Nothing),
        Some("require") if root.is_none() => (SslMode::Require, Verify::Nothing),
        Some("require" | "verify-ca") => (SslMode::Require, Verify::ChainOnly),
        Some("verify-full") => (SslMode::Require, Verify::Full),
        Some(other) => return Err(format!("ERROR, SQLSTATE: sslmode '{other}' is unknown")),
    };
    let tls = ClientTls { ca: root.filter(|path| path != "system").map(PathBuf::from), verify, ..ClientTls::default() };
    tls.build().map(|tls| (mode, tls)).map_err(|error| format!("ERROR, SQLSTATE: {error}"))
}

/// PGPASSFILE, else `~/.pgpass`.
fn passfile() -> Option<String> {
    let given = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    std::fs::read_to_string(given.or_else(|| Some(std::env::home_dir()?.join(".pgpass")))?).ok()
}

/// The password of the first line that fits: `host:port:database:user:password`, `*` fits all.
fn look_up(file: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    let port = port.to_string();
    let fits = |field: &String, value: &str| field == "*" || field == value;
    file.lines().filter(|line| !line.starts_with('#')).map(fields).find_map(|fields| match fields.as_slice() {
        [h, p, d, u, password] if fits(h, host) && fits(p, &port) && fits(d, database) && fits(u, user) => {
            Some(password.clone())
        }
        _ => None,
    })
}

/// Fields between colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '\\' => fields[last].extend(chars.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields
}

/// Runs one statement or several. Types are known for one: several are texts.
async fn run_sql(client: &Client, sql: &str) -> Result<Rows, Error> {
    let types: Vec<Type> = match client.prepare(sql).await {
        Ok(statement) => statement.columns().iter().map(|column| column.type_().clone()).collect(),
        // It may be several statements; a mistake is reported when it runs.
        Err(error) if error.as_db_error().is_some() => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut rows = Rows::default();
    for message in client.simple_query(sql).await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                rows = Rows {
                    columns: Some(columns.iter().map(|column| column.name().to_owned()).collect()),
                    rows: Vec::new(),
                };
            }
            SimpleQueryMessage::Row(row) => rows.rows.push(cells(&row, &types)),
            SimpleQueryMessage::CommandComplete(_) => {}
            _ => {}
        }
    }
    Ok(rows)
}

fn cells(row: &SimpleQueryRow, types: &[Type]) -> Vec<Value> {
    (0..row.len()).map(|i| cell(row.get(i), types.get(i))).collect()
}

fn cell(text: Option<&str>, kind: Option<&Type>) -> Value {
    let Some(text) = text else { return Value::Null };
    let number = || serde_json::from_str(text).ok().filter(Value::is_number);
    let value = match kind {
        Some(&Type::BOOL) => Some(Value::Bool(text == "t")),
        Some(&(Type::INT2 | Type::INT4 | Type::INT8 | Type::OID)) => number(),
        Some(&(Type::FLOAT4 | Type::FLOAT8)) => text.parse::<f64>().ok().map(Value::from).filter(Value::is_number),
        Some(&(Type::JSON | Type::JSONB)) => serde_json::from_str(text).ok(),
        Some(_) | None => None,
    };
    value.unwrap_or_else(|| text.into())
}

/// The code of an error that the server reported, else what happened.
fn describe(error: &Error) -> String {
    debug!("{error}");
    let text = match error.as_db_error() {
        Some(error) => error.code().code().to_owned(),
        None => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                text.push_str(&format!(": {inner}"));
                cause = inner.source();
            }
            text.replace('\n', " ")
        }
    };
    format!("ERROR, SQLSTATE: {text}")
}

fn failed(message: &str) -> Rows {
    Rows { columns: None, rows: vec![vec![json!(time::stamp()), json!(message)]] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        for (text, kind, value) in [
            (Some("1"), Some(&Type::INT4), json!(1)),
            (Some("t"), Some(&Type::BOOL), json!(true)),
            (Some("1"), Some(&Type::FLOAT8), json!(1.0)),
            (Some("NaN"), Some(&Type::FLOAT8), json!("NaN")),
            (Some("{\"a\": 1}"), Some(&Type::JSONB), json!({"a": 1})),
            (Some("1"), Some(&Type::TEXT), json!("1")),
            (Some("1"), None, json!("1")),
            (None, Some(&Type::INT4), Value::Null),
        ] {
            assert_eq!(cell(text, kind), value, "{text:?} {kind:?}");
        }
    }

    #[test]
    fn password_files_are_read_as_libpq_does() {
        let file = "# a comment\nother:*:*:*:no\nh:5432:*:bob:a\\:b:c\n*:*:*:*:rest\n";
        let password = |host, user| look_up(file, host, 5432, "db", user);
        assert_eq!(password("h", "bob").as_deref(), Some("a:b:c"));
        assert_eq!(password("h", "eve").as_deref(), Some("rest"));
        assert_eq!(look_up("broken line\n", "h", 1, "d", "u"), None);
    }
}
