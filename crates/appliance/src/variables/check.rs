//! Every value that cannot be read, found in one pass.

use std::fmt;

use super::{Kind, Values, Variable, find};

/// One reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable as the user wrote it, or what else is wrong.
    pub name: String,
    /// What stands there; `***` when it is secret; `None` when it is missing.
    pub value: Option<String>,
    pub expected: String,
}

/// All of them. Nothing has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}: expected {}", self.name, self.expected),
            None => write!(f, "{}: {}", self.name, self.expected),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment cannot be used; nothing was written:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Refusal {}

/// How much of a long value is shown.
const SHOWN: usize = 80;

impl Problem {
    /// A value that is not what its variable takes.
    pub(crate) fn unfit(values: &Values, name: &str, expected: String) -> Problem {
        let text = values.get(name).unwrap_or_default();
        let value = match super::is_secret(name) {
            true => "***".to_owned(),
            false => shown(text),
        };
        Problem { name: values.source(name).to_string(), value: Some(value), expected }
    }

    pub(crate) fn missing(name: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { name: name.into(), value: None, expected: what.into() }
    }
}

fn shown(text: &str) -> String {
    let line = text.escape_debug().to_string();
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Everything in the environment that its kind does not take.
pub(crate) fn problems(values: &Values) -> Vec<Problem> {
    values
        .names()
        .filter_map(|(name, _)| {
            let expected = refuse(find(name)?, values.get(name)?)?;
            Some(Problem::unfit(values, name, expected))
        })
        .collect()
}

fn refuse(row: &Variable, text: &str) -> Option<String> {
    if !text.is_empty() {
        return row.kind.refuse(text);
    }
    // An empty text switches most things off; these cannot be switched off.
    let needed = matches!(row.kind, Kind::Port | Kind::Integer { .. } | Kind::Cron | Kind::Duration | Kind::Path);
    let has_default = !row.default.is_empty() && !row.default.contains(" with ");
    (needed && has_default).then(|| format!("{} (leave the variable out for {})", row.kind.expected(), row.default))
}
