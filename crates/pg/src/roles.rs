//! Roles and passwords of a freshly made cluster (ha-rules 10.3).
//!
//! A role's statement holds its password in clear, so nothing of it may reach the server's log: not by
//! log_statement, not by its duration, not by failing, not by an extension.

use std::time::Duration;

use jogi_config::local::Credentials;
use jogi_core::ha::{Mode, Setup};
use tokio::time::Instant;

use crate::connect::{Address, Connection, Purpose, SqlError, quote_identifier, quote_literal};
use crate::files::passwords::{Passwords, conninfo};
use crate::files::{self, FileError};
use crate::instance::Instance;
use crate::postmaster;
use crate::programs::{Cancel, ProgramError, operators_command, run_blocking, succeed};

/// `PASSWORD` statements leave no trace, and wait for no standby.
const SILENCE: &str = "SET log_statement TO none; SET log_min_duration_statement TO -1; \
    SET log_min_error_statement TO panic; SET log_duration TO off; SET \"pg_stat_statements.track_utility\" TO off; \
    SET \"pgaudit.log\" TO none; SET synchronous_commit TO local";
/// What pg_rewind calls, from PostgreSQL 11 on.
const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
];

impl From<SqlError> for ProgramError {
    fn from(error: SqlError) -> Self {
        ProgramError::Prepare(error.to_string())
    }
}

/// Creates or alters superuser, replication and rewind roles, and runs `post_bootstrap` between them. After a
/// custom bootstrap the real configuration files are then put in place.
pub async fn post_bootstrap(instance: &Instance, within: Duration, cancel: &mut Cancel) -> Result<(), ProgramError> {
    let until = Instant::now() + within;
    let left = || until.saturating_duration_since(Instant::now());
    let authentication = &instance.local.postgresql.authentication;
    let mut connection = Connection::open(&instance.local_target(Purpose::Work), left()).await?;
    connection.query(SILENCE, left()).await?;
    if let Some(superuser) = &authentication.superuser {
        create(&mut connection, superuser, "SUPERUSER", left()).await?;
    }
    if let Some(script) = &instance.local.bootstrap.post_bootstrap {
        run_script(instance, script, left(), cancel).await?;
    }
    create(&mut connection, &authentication.replication, "REPLICATION", left()).await?;
    if let Some(rewind) = separate_rewind_role(instance, connection.server_version()) {
        create(&mut connection, rewind, "", left()).await?;
        let name = quote_identifier(rewind.username.as_deref().unwrap_or_default());
        for function in REWIND_FUNCTIONS {
            connection.query(&format!("GRANT EXECUTE ON FUNCTION {function} TO {name}"), left()).await?;
        }
    }
    run_blocking(instance, put_real_files).await
}

fn separate_rewind_role(instance: &Instance, version: u32) -> Option<&Credentials> {
    let authentication = &instance.local.postgresql.authentication;
    let superuser = authentication.superuser.as_ref().and_then(|superuser| superuser.username.as_ref());
    let rewind = authentication.rewind.as_ref().filter(|_| version >= 110_000)?;
    (rewind.username.is_some() && rewind.username.as_ref() != superuser).then_some(rewind)
}

async fn create(
    connection: &mut Connection,
    role: &Credentials,
    attribute: &str,
    within: Duration,
) -> Result<(), SqlError> {
    let Some(name) = &role.username else { return Ok(()) };
    connection.query(&statement(name, role, attribute), within).await.map(|_| ())
}

/// The statement that creates or alters a role. The body of the DO block is itself a literal, so that nothing in
/// a password can end it.
fn statement(name: &str, role: &Credentials, attribute: &str) -> String {
    let mut options = format!("{attribute} LOGIN");
    if let Some(password) = &role.password {
        options.push_str(&format!(" PASSWORD {}", quote_literal(password.expose())));
    }
    let (literal, identifier) = (quote_literal(name), quote_identifier(name));
    let body = format!(
        "BEGIN PERFORM FROM pg_catalog.pg_roles WHERE rolname = {literal}; \
         IF FOUND THEN ALTER ROLE {identifier} WITH {options}; ELSE CREATE ROLE {identifier} WITH {options}; END IF; END"
    );
    format!("DO {}", quote_literal(&body))
}

/// One argument: how to connect, without the password, which is in the file that PGPASSFILE names.
async fn run_script(
    instance: &Instance,
    script: &str,
    within: Duration,
    cancel: &mut Cancel,
) -> Result<(), ProgramError> {
    let (connection, passwords) = run_blocking(instance, local_connection).await?;
    let mut program = operators_command(script, "bootstrap.post_bootstrap")?
        .arg(connection)
        .env("PGOPTIONS", "-c synchronous_commit=local -c statement_timeout=0");
    if let Some(path) = passwords.path() {
        program = program.env("PGPASSFILE", path);
    }
    succeed(&program, within, cancel).await.map(|_| ())
}

fn local_connection(instance: &Instance) -> Result<(String, Passwords), FileError> {
    let local = &instance.local.postgresql;
    let superuser = local.authentication.superuser.clone().unwrap_or_default();
    let (host, port) = match instance.local_address() {
        Address::Unix(dir, port) => (dir.to_string_lossy().into_owned(), port),
        Address::Tcp(host, port) => (host, port),
    };
    let mut wanted = conninfo(&superuser, &host, &port.to_string(), &local.database);
    let passwords = Passwords::write(instance, &wanted, "post_bootstrap")?;
    wanted.0.remove("password");
    Ok((wanted.to_dsn(instance.binaries.version), passwords))
}

fn put_real_files(instance: &Instance) -> Result<(), FileError> {
    if files::custom_bootstrap_under_way(instance).is_none() {
        return Ok(());
    }
    let setup = Setup {
        mode: Mode::Primary,
        dynamic: instance.dynamic.clone(),
        synchronous_standby_names: None,
        feedback: false,
    };
    files::finish_custom(instance, &setup)?;
    postmaster::reload(instance.data_dir()).map_err(FileError::io("reload the server of", instance.data_dir()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jogi_config::Secret;

    use super::*;

    #[test]
    fn nothing_in_a_name_or_password_ends_the_statement() {
        let role = Credentials {
            username: Some("r\"x'y".into()),
            password: Some(Secret::new("p'w\\ $$ x")),
            ..Credentials::default()
        };
        let sql = statement("r\"x'y", &role, "REPLICATION");
        assert!(sql.starts_with("DO "));
        assert!(sql.contains("ALTER ROLE \"r\"\"x''y\" WITH REPLICATION LOGIN PASSWORD"), "{sql}");
        assert!(!sql.contains("p'w"), "the quote is doubled: {sql}");
    }
}
