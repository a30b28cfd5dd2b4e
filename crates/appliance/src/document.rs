//! A configuration under construction: every value with where it came from.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::source::Source;
use crate::variables::Sourced;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    root: Map<String, Value>,
    sources: BTreeMap<Vec<String>, Source>,
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|key| (*key).to_owned()).collect()
}

impl Document {
    /// Sets a value; sections on the way are made.
    pub fn put(&mut self, path: &[&str], value: impl Into<Value>, source: Source) {
        self.place(path, value.into());
        self.sources.insert(owned(path), source);
    }

    pub fn put_sourced<T: Into<Value>>(&mut self, path: &[&str], value: Sourced<T>) {
        self.put(path, value.value, value.source);
    }

    /// Several values of one section.
    pub fn defaults<const N: usize>(&mut self, section: &[&str], values: [(&str, Value); N]) {
        for (key, value) in values {
            self.put(&[section, &[key]].concat(), value, Source::Default);
        }
    }

    fn place(&mut self, path: &[&str], value: Value) {
        let Some((last, sections)) = path.split_last() else { return };
        let mut map = &mut self.root;
        for key in sections {
            let below = map.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            let Value::Object(below) = below else { return };
            map = below;
        }
        map.insert((*last).to_owned(), value);
    }

    pub fn remove(&mut self, path: &[&str]) {
        let Some((last, sections)) = path.split_last() else { return };
        let mut map = &mut self.root;
        for key in sections {
            let Some(Value::Object(below)) = map.get_mut(*key) else { return };
            map = below;
        }
        map.remove(*last);
        self.sources.remove(&owned(path));
    }

    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.root.get(*first)?, |value, key| value.get(*key))
    }

    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.get(path)?.as_str()
    }

    pub fn root(&self) -> &Map<String, Value> {
        &self.root
    }

    /// The source of a value, or of the section or list that it lies in.
    pub fn source(&self, path: &[&str]) -> Option<&Source> {
        (1..=path.len()).rev().find_map(|depth| self.sources.get(&owned(&path[..depth])))
    }

    /// Every value that is no section, with its source. Empty sections count as values.
    pub fn leaves(&self) -> Vec<(Vec<String>, &Value, Option<&Source>)> {
        let mut leaves = Vec::new();
        walk(&self.root, &mut Vec::new(), &mut |path, value| leaves.push((path.to_vec(), value)));
        leaves
            .into_iter()
            .map(|(path, value)| {
                let keys: Vec<&str> = path.iter().map(String::as_str).collect();
                let source = self.source(&keys);
                (path, value, source)
            })
            .collect()
    }

    /// The user's mapping over this one: mappings are merged, any other value replaces, null keeps what is there.
    pub fn merge(&mut self, user: &Map<String, Value>, source: &Source) {
        let mut changed = Vec::new();
        merge(&mut self.root, user, &mut Vec::new(), &mut changed);
        for path in changed {
            self.sources.retain(|known, _| !known.starts_with(&path));
            self.sources.insert(path, source.clone());
        }
    }
}

fn walk<'v>(map: &'v Map<String, Value>, path: &mut Vec<String>, each: &mut impl FnMut(&[String], &'v Value)) {
    for (key, value) in map {
        path.push(key.clone());
        match value {
            Value::Object(below) if !below.is_empty() => walk(below, path, each),
            value => each(path, value),
        }
        path.pop();
    }
}

fn merge(
    ours: &mut Map<String, Value>,
    user: &Map<String, Value>,
    path: &mut Vec<String>,
    changed: &mut Vec<Vec<String>>,
) {
    for (key, value) in user {
        path.push(key.clone());
        match (ours.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(value)) => merge(below, value, path, changed),
            (Some(_), Value::Null) => {}
            (_, value) => {
                ours.insert(key.clone(), value.clone());
                changed.push(path.clone());
            }
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_replaces_what_is_no_mapping_and_keeps_what_is_null() {
        let mut document = Document::default();
        document.put(&["a", "b"], 1, Source::Default);
        document.put(&["a", "list"], json!([1, 2]), Source::Default);
        let user = json!({"a": {"b": null, "list": [3], "new": null}, "x": {"y": 1}});
        document.merge(user.as_object().expect("a mapping"), &Source::Variable("SPILO_CONFIGURATION".into()));
        assert_eq!(
            Value::Object(document.root().clone()),
            json!({"a": {"b": 1, "list": [3], "new": null}, "x": {"y": 1}})
        );
        assert_eq!(document.source(&["a", "b"]), Some(&Source::Default));
        assert_eq!(document.source(&["x", "y"]), Some(&Source::Variable("SPILO_CONFIGURATION".into())));
    }
}
