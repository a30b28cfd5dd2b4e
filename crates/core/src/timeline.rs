//! Timelines and their history: which branch of WAL a server is on, and where branches part.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// A PostgreSQL timeline id. The number alone does not identify a branch: two servers promoted from the
/// same point carry the same number with different history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One line of a `.history` file: `parent` ended at `switched_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    pub parent: Timeline,
    pub switched_at: Lsn,
    pub reason: String,
}

/// The ancestry of one timeline, oldest switch first (PostgreSQL's `TTTTTTTT.history`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(pub Vec<Switch>);

impl History {
    /// Parses the text of a `.history` file. Lines that are empty or comments are skipped, as PostgreSQL
    /// does; lines that are neither are skipped too, because a history that we cannot read must not stop
    /// a server that PostgreSQL itself can run.
    pub fn parse(text: &str) -> History {
        let switch = |line: &str| {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let mut words = line.splitn(3, char::is_whitespace);
            let parent = Timeline(words.next()?.parse().ok()?);
            let rest_at = line.find(char::is_whitespace)?;
            let rest = line[rest_at..].trim_start();
            let (lsn, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            Some(Switch { parent, switched_at: lsn.parse().ok()?, reason: reason.trim().to_owned() })
        };
        History(text.lines().filter_map(switch).collect())
    }

    /// Where this history left `timeline`, if it ever was on it.
    pub fn left(&self, timeline: Timeline) -> Option<Lsn> {
        self.0.iter().find(|s| s.parent == timeline).map(|s| s.switched_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_history_file() {
        let history =
            History::parse("1\t0/40004D8\tno recovery target specified\n\n# x\n2\t0/6000000\tbefore 2000-01-01\n");
        assert_eq!(history.0.len(), 2);
        assert_eq!(history.0[0].reason, "no recovery target specified");
        assert_eq!(history.left(Timeline(2)), Some(Lsn(0x6000000)));
        assert_eq!(history.left(Timeline(3)), None);
    }
}
