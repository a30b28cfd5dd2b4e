//! Where a value came from, for people who ask why it is what it is.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table's default.
    Default,
    /// A variable, by the name that the user wrote.
    Variable(String),
    /// Found on the machine: its memory, its address, the installed PostgreSQL …
    Machine(&'static str),
    /// Made of other values.
    Derived(String),
}

impl Source {
    /// Made of these.
    pub fn of(parts: &[&Source]) -> Source {
        let texts: std::collections::BTreeSet<String> =
            parts.iter().filter(|part| ***part != Source::Default).map(|part| part.to_string()).collect();
        match texts.len() {
            0 => Source::Default,
            _ => Source::Derived(texts.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Variable(name) => f.write_str(name),
            Source::Machine(what) => f.write_str(what),
            Source::Derived(parts) => f.write_str(parts),
        }
    }
}
