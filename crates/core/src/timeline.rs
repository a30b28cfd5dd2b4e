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

    /// Where two branches part, this one with the timeline `own` and `other` with `theirs`: the end of what they
    /// share, as pg_rewind finds it. `None`: nothing, or all of one of them.
    pub fn parts(&self, own: Timeline, other: &History, theirs: Timeline) -> Option<Lsn> {
        let stretches = |history: &History, last: Timeline| {
            let ends = history.0.iter().map(|s| (s.parent, s.switched_at)).chain([(last, Lsn(u64::MAX))]);
            let mut begin = Lsn::INVALID;
            ends.map(|(timeline, end)| (timeline, std::mem::replace(&mut begin, end), end)).collect::<Vec<_>>()
        };
        let (ours, others) = (stretches(self, own), stretches(other, theirs));
        let shared = ours.iter().zip(&others).take_while(|(a, b)| (a.0, a.1) == (b.0, b.1));
        shared.last().map(|(a, b)| a.2.min(b.2)).filter(|end| *end != Lsn(u64::MAX))
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
    fn branches_part_where_their_histories_do() {
        let history = |text: &str| History::parse(text);
        let (none, three) = (History::default(), history("1\t0/100\tx\n2\t0/200\tx\n"));
        for (ours, own, other, theirs, at) in [
            (&none, 1, &three, 3, Some(0x100)),
            (&history("1\t0/100\tx\n"), 2, &three, 3, Some(0x200)),
            (&history("1\t0/90\tx\n"), 2, &three, 3, Some(0x90)),
            (&history("1\t0/150\tx\n"), 5, &three, 3, Some(0x100)),
            (&three, 3, &three, 3, None),
            (&none, 7, &three, 3, None),
        ] {
            assert_eq!(ours.parts(Timeline(own), other, Timeline(theirs)), at.map(Lsn), "{own} of {ours:?}");
        }
    }

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
