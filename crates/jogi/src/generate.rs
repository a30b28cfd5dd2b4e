//! `--generate-config`: the configuration of a server that runs here without an agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use jogi_agent::Source;
use jogi_config::Secret;
use jogi_config::generate::{Running, generate, query};
use jogi_config::postgres::Conninfo;
use jogi_config::sample::SampleInput;
use jogi_pg::connect::{Address, Connection, Target, TextRow};
use jogi_pg::pidfile::PostmasterPid;

use crate::sample;

/// The server is on this machine and answers at once, or something is wrong with it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const PORT: u16 = 5432;

/// Where Debian's and PostgreSQL's own libpq look for the socket.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Connection parameters that the configuration takes over, with libpq's variable.
const TAKEN: [(&str, &str); 10] = [
    ("sslmode", "PGSSLMODE"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslpassword", ""),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("gssencmode", "PGGSSENCMODE"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
];

/// Prints the configuration, or writes it to a file.
pub fn main(file: Option<&Path>, dsn: Option<&str>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(make(dsn)));
    match text {
        Ok(text) => sample::write(&text, file),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn make(dsn: Option<&str>) -> anyhow::Result<String> {
    let source = Source::new(None);
    let given = match dsn {
        // What a DSN leaves out has a value; which of them the server knows is seen later.
        Some(dsn) => Conninfo::parse(dsn).ok_or_else(|| anyhow!("Failed to parse DSN string"))?.with_defaults(u32::MAX),
        None => Conninfo::default(),
    };
    let login = Login::gather(&given).await?;
    let target = login.target();
    let mut connection =
        Connection::open(&target, ANSWER_WITHIN).await.context("Failed to establish PostgreSQL connection")?;
    let version = connection.server_version();
    let is_superuser = connection.query("SHOW is_superuser", ANSWER_WITHIN).await?;
    if is_superuser.first().and_then(|row| row.get(0)) != Some("on") {
        bail!("The provided user does not have superuser privilege");
    }
    let rows = connection.query(&query(), ANSWER_WITHIN).await?;
    let text = |row: &TextRow, column| row.get(column).unwrap_or_default().to_owned();
    let parameters: Vec<(String, String)> = rows.iter().map(|row| (text(row, 0), text(row, 1))).collect();
    let of = |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let data_dir =
        PathBuf::from(of("data_directory").ok_or_else(|| anyhow!("the server does not tell where its data is"))?);
    let machine = SampleInput {
        hostname: sample::host_name(),
        address: sample::address(),
        version,
        bin_dir: Some(bin_dir(&data_dir)?.display().to_string()),
    };
    let server = Running {
        pg_hba: default_file(&data_dir, "pg_hba.conf", of("hba_file"))?,
        pg_ident: default_file(&data_dir, "pg_ident.conf", of("ident_file"))?,
        superuser: login.superuser,
        port: login.port,
        parameters,
    };
    Ok(generate(&machine, &server, source.environment()))
}

/// Its lines, when the server uses the one in the data directory.
fn default_file(data_dir: &Path, name: &str, used: Option<&str>) -> anyhow::Result<Option<String>> {
    let default = data_dir.join(name);
    if used.map(Path::new) != Some(&default) {
        return Ok(None);
    }
    std::fs::read_to_string(&default).map(Some).with_context(|| format!("Failed to read {name}"))
}

/// Where the program of the running postmaster lies.
fn bin_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let file = PostmasterPid::read(data_dir).context("Error while reading postmaster.pid file")?;
    let pid = file.ok_or_else(|| anyhow!("Failed to obtain postmaster pid from postmaster.pid file"))?.pid;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).with_context(|| {
        format!("the program of the postmaster (pid {pid}) cannot be found; it takes root or the server's user")
    })?;
    Ok(program.parent().map(Path::to_owned).unwrap_or_default())
}

/// Who connects, and how.
struct Login {
    superuser: BTreeMap<String, String>,
    host: String,
    port: Option<String>,
    database: String,
}

impl Login {
    /// From the DSN, else libpq's variables, else asked.
    async fn gather(dsn: &Conninfo) -> anyhow::Result<Login> {
        let get = |name: &str, variable: &str| {
            let given = dsn.get(name).map(str::to_owned);
            given.or_else(|| std::env::var(variable).ok()).filter(|text| !text.is_empty())
        };
        let taken = TAKEN.iter().filter_map(|(name, variable)| Some(((*name).to_owned(), get(name, variable)?)));
        let mut superuser: BTreeMap<String, String> = taken.collect();
        let user = get("user", "PGUSER").or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "postgres".into());
        let password = match get("password", "PGPASSWORD") {
            Some(password) => password,
            None => jogi_ctl::ask_password("Please enter the user password").await.ok_or_else(|| {
                anyhow!("no password was given: put it into PGPASSWORD or --dsn, or answer the question")
            })?,
        };
        superuser.extend([("username".to_owned(), user.clone()), ("password".to_owned(), password)]);
        let socket = || SOCKET_DIRS.into_iter().find(|dir| Path::new(dir).is_dir()).unwrap_or("/tmp").to_owned();
        Ok(Login {
            host: get("host", "PGHOST").unwrap_or_else(socket),
            port: get("port", "PGPORT"),
            database: get("dbname", "PGDATABASE").unwrap_or(user),
            superuser,
        })
    }

    fn target(&self) -> Target {
        let port = self.port.as_deref().and_then(|port| port.parse().ok()).unwrap_or(PORT);
        let address = match self.host.starts_with('/') {
            true => Address::Unix(PathBuf::from(&self.host), port),
            false => Address::Tcp(self.host.clone(), port),
        };
        let mut parameters = self.superuser.clone();
        let user = parameters.remove("username").unwrap_or_default();
        Target {
            address,
            user,
            password: parameters.remove("password").map(Secret::new),
            database: self.database.clone(),
            parameters,
            application_name: "Patroni".to_owned(),
            settings: Vec::new(),
            replication: false,
        }
    }
}
