//! The texts of `postgresql.conf`, `pg_hba.conf`, `pg_ident.conf` and the cleaned `postgresql.auto.conf`.

use super::ServerParameters;

/// What goes into `postgresql.conf` beside the parameters.
#[derive(Clone, Debug)]
pub struct ConfFile<'a> {
    /// `postgresql.base.conf` or `custom_conf`.
    pub include: &'a str,
    /// Written when `hba_file` is not configured.
    pub hba_file: &'a str,
    pub ident_file: &'a str,
    /// `# recovery.conf` and below; from PostgreSQL 12 on. See [`super::recovery_file_parameters`].
    pub recovery: &'a [(String, String)],
    /// A custom bootstrap runs: our own hba file wins over a configured one.
    pub custom_bootstrap: bool,
}

/// The text of `postgresql.conf`.
pub fn render_conf(_parameters: &ServerParameters, _file: &ConfFile<'_>) -> String {
    todo!()
}

/// Header and lines: `pg_hba.conf`, `pg_ident.conf`.
pub fn lines_text(_lines: &[String]) -> String {
    todo!()
}

/// Trust lines for the time of a custom bootstrap.
#[derive(Clone, Debug)]
pub struct HbaTrust<'a> {
    pub replication_user: &'a str,
    /// None: all.
    pub superuser: Option<&'a str>,
    /// Resolved local addresses, without a mask.
    pub addresses: &'a [String],
}

/// `pg_hba.conf` for the time of a custom bootstrap.
pub fn hba_trust_text(_trust: &HbaTrust<'_>) -> String {
    todo!()
}

/// `postgresql.auto.conf` without recovery parameters; `None` when it has none.
pub fn strip_recovery_parameters(_auto_conf: &str) -> Option<String> {
    todo!()
}
