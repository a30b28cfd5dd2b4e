//! The variables of the environment: one table, and how a text becomes a value.
//!
//! The hazard: a name that nobody reads and a value that means something else than its writer thought. So
//! every name stands in [`table`] once, everything that is wrong is found in one pass ([`check`]), and a
//! name that is not in the table but looks like one of it is told ([`nearest`]).

mod check;
mod kinds;
mod nearest;
mod reference;
mod table;
mod values;

pub use check::{Problem, Refusal};
pub use kinds::Kind;
pub use reference::reference_markdown;
pub use values::{Environment, Sourced, Values};

pub(crate) use check::problems;
pub(crate) use kinds::{crontab, hosts, is_false, json_texts, mapping};
pub(crate) use nearest::{is_service_link, unknown};

/// One variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    pub kind: Kind,
    /// In words where it is not a text of its own; empty for none.
    pub default: &'static str,
    /// The section of the environment's reference (docs/environment.md).
    pub section: &'static str,
    pub secret: bool,
    /// Exists with `CLONE_` and `STANDBY_` before it as well.
    pub copied: bool,
    pub served: Served,
    pub doc: &'static str,
}

/// What becomes of a variable today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    Yes,
    /// Read, checked and written out; this part of the appliance does not act on it yet.
    NotYet(&'static str),
    /// Tolerated, as it is for Spilo.
    Ignored,
}

/// Prefixes under which the variables of the archive exist again.
pub const COPIES: [&str; 2] = ["CLONE_", "STANDBY_"];

/// All of them, in the order of the sections.
pub fn all() -> &'static [Variable] {
    table::TABLE
}

/// The row of a name, spelt as [`Values`] has it.
pub fn find(name: &str) -> Option<&'static Variable> {
    let exact = |name: &str| all().iter().find(move |row| row.name == name);
    exact(name).or_else(|| {
        let rest = COPIES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
        exact(rest).filter(|row| row.copied)
    })
}

/// Whether a value of this name must not be shown. Of names that are not in the table, those that say so.
pub fn is_secret(name: &str) -> bool {
    match find(name) {
        Some(row) => row.secret,
        None => looks_secret(name),
    }
}

/// By its name only: `…_PASSWORD`, `secret_access_key`, `token`.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_file = name.ends_with("_file") || name.ends_with("_path");
    !is_file && ["password", "passphrase", "secret", "token", "access_key"].iter().any(|word| name.contains(word))
}
