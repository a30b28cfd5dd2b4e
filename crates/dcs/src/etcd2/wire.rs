//! etcd v2's answers.

use jogi_core::view::{KeyValue, Revision};
use serde::Deserialize;

use super::book::{Book, Holding};

/// A node of the tree.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Node {
    pub key: String,
    pub value: Option<String>,
    pub dir: bool,
    pub nodes: Vec<Node>,
    pub created_index: u64,
    pub modified_index: u64,
}

/// What was read or changed.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub node: Node,
}

impl Node {
    pub(super) fn holding(&self) -> Holding {
        Holding { created: self.created_index, modified: self.modified_index }
    }

    /// All keys below, with their paths relative to `base`.
    pub(super) fn keys(self, base: &str, book: &Book, found: &mut Vec<KeyValue>) {
        if self.dir {
            self.nodes.into_iter().for_each(|node| node.keys(base, book, found));
            return;
        }
        let path = self.key.strip_prefix(base).and_then(|path| path.strip_prefix('/')).map(str::to_owned);
        let Some(path) = path else { return };
        let value = self.value.unwrap_or_default();
        let (session, revision) = match path.as_str() {
            // Every renewal changes the index of the leader key; its creation names what decisions are made on.
            "leader" => (book.of_leader(self.created_index), self.created_index),
            _ => (book.of_member(&path, &value), self.modified_index),
        };
        let (revision, created) = (index(revision), index(self.created_index));
        found.push(KeyValue { path, value, revision, created, session });
    }
}

pub(super) fn index(index: u64) -> Revision {
    Revision(index.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_keys() {
        let text = r#"{"action":"get","node":{"key":"/s/d","dir":true,"nodes":[{"key":"/s/d/leader","value":"a","ttl":30,"modifiedIndex":5,"createdIndex":4},{"key":"/s/d/members","dir":true,"nodes":[{"key":"/s/d/members/a","value":"x","modifiedIndex":7,"createdIndex":6}]},{"key":"/s/d/initialize","modifiedIndex":9,"createdIndex":9}]}}"#;
        let event: Event = serde_json::from_str(text).expect("an event");
        let mut keys = Vec::new();
        event.node.keys("/s/d", &Book::default(), &mut keys);
        let found: Vec<(&str, &str, &str)> =
            keys.iter().map(|k| (k.path.as_str(), k.value.as_str(), k.revision.0.as_str())).collect();
        assert_eq!(found, [("leader", "a", "4"), ("members/a", "x", "7"), ("initialize", "", "9")]);
    }
}
