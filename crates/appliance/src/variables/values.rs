//! The environment as the appliance sees it: Spilo's renamings done, with where each value came from.

use std::collections::BTreeMap;

use super::is_false;
use crate::source::Source;

/// The process environment, handed in by the caller.
pub type Environment = BTreeMap<String, String>;

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub source: Source,
}

impl<T> Sourced<T> {
    pub fn new(value: T, source: Source) -> Sourced<T> {
        Sourced { value, source }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: change(self.value), source: self.source }
    }
}

/// The variables by the names of today: `WALE` has become `WALG`, `GCS` has become `GS`.
#[derive(Clone, PartialEq, Eq)]
pub struct Values {
    given: BTreeMap<String, Given>,
}

#[derive(Clone, PartialEq, Eq)]
struct Given {
    text: String,
    /// As the user wrote it.
    name: String,
}

/// Older names of the archive's variables (they exist with `CLONE_` and `STANDBY_` too).
const ALIASES: [(&str, &str); 2] = [("WAL_GCS_BUCKET", "WAL_GS_BUCKET"), ("WALG_GCS_PREFIX", "WALG_GS_PREFIX")];

/// The name of today for a name of any time.
fn renamed(name: &str) -> String {
    let name = name.replace("WALE", "WALG");
    let rest = super::COPIES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
    match ALIASES.iter().find(|(old, _)| *old == rest) {
        Some((_, new)) => format!("{}{new}", &name[..name.len() - rest.len()]),
        None => name,
    }
}

impl Values {
    /// A name of today that is itself in the environment wins over an older one.
    pub fn read(environment: &Environment) -> Values {
        let mut given = BTreeMap::new();
        for (name, text) in environment {
            let today = renamed(name);
            if today != *name && environment.contains_key(&today) {
                continue;
            }
            let text = if today == "CLONE_METHOD" { text.replace("WALE", "WALG") } else { text.clone() };
            // Two older names for one of today: the nearer spelling comes later and wins.
            given.insert(today, Given { text, name: name.clone() });
        }
        Values { given }
    }

    /// Every name of today that is there, with the name that was written.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(today, given)| (today.as_str(), given.name.as_str()))
    }

    /// The text as it is, if the variable is there; an empty one counts as there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|given| given.text.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The source of a value that is there.
    pub fn source(&self, name: &str) -> Source {
        Source::Variable(self.given.get(name).map_or(name, |given| given.name.as_str()).to_owned())
    }

    /// The text, if there is one and it is not empty.
    pub fn filled(&self, name: &str) -> Option<Sourced<String>> {
        let text = self.get(name).filter(|text| !text.is_empty())?;
        Some(Sourced::new(text.to_owned(), self.source(name)))
    }

    /// The text; the default only when the variable is absent.
    pub fn text(&self, name: &str, default: impl Into<String>) -> Sourced<String> {
        match self.get(name) {
            Some(text) => Sourced::new(text.to_owned(), self.source(name)),
            None => Sourced::new(default.into(), Source::Default),
        }
    }

    /// A flag: any text but an empty one and `false`, `0`, `no`, `off`.
    pub fn flag(&self, name: &str, default: bool) -> Sourced<bool> {
        match self.get(name) {
            Some(text) => Sourced::new(!text.is_empty() && !is_false(text), self.source(name)),
            None => Sourced::new(default, Source::Default),
        }
    }

    /// Whether the text is `true`, in any case.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        Values::read(&pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn older_names_are_read_under_todays() {
        let values = values(&[
            ("CLONE_WALE_S3_PREFIX", "s3://a"),
            ("WALE_S3_PREFIX", "old"),
            ("WALG_S3_PREFIX", "new"),
            ("STANDBY_WAL_GCS_BUCKET", "b"),
            ("WALE_GCS_PREFIX", "gs://c"),
            ("CLONE_METHOD", "CLONE_WITH_WALE"),
        ]);
        assert_eq!(values.get("CLONE_WALG_S3_PREFIX"), Some("s3://a"));
        assert_eq!(values.source("CLONE_WALG_S3_PREFIX"), Source::Variable("CLONE_WALE_S3_PREFIX".into()));
        assert_eq!(values.get("WALG_S3_PREFIX"), Some("new"));
        assert_eq!(values.get("STANDBY_WAL_GS_BUCKET"), Some("b"));
        assert_eq!(values.get("WALG_GS_PREFIX"), Some("gs://c"));
        assert_eq!(values.get("CLONE_METHOD"), Some("CLONE_WITH_WALG"));
    }
}
