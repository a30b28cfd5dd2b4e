//! `--dry-run`: every file with every value and where it came from; secrets masked.

use jogi_config::yaml;
use serde_json::Value;

use crate::document::Document;
use crate::plan::{Content, File, Notice};
use crate::source::Source;
use crate::variables::{is_secret, looks_secret};

const MASK: &str = "***";

pub(crate) fn file(file: &File) -> String {
    let mut out = format!("# {} (mode {:04o})\n", file.path, file.mode);
    match &file.content {
        Content::Text { secret: true, .. } => out.push_str(&format!("{MASK}  # {}\n", file.source)),
        Content::Text { text, .. } => {
            let mut lines = text.trim_end_matches('\n').lines();
            out.push_str(&format!("{}  # {}\n", lines.next().unwrap_or_default(), file.source));
            lines.for_each(|line| out.push_str(&format!("{line}\n")));
        }
        Content::SelfSigned { common_name, key, .. } => {
            out.push_str(&format!(
                "a self-signed certificate for {common_name}, with its key in {key}; made only where \
                                   there is no key  # {}\n",
                file.source
            ));
        }
        Content::Yaml(config) => document(config, &mut out),
    }
    out
}

/// One line for each value: its path, itself, its source.
fn document(config: &Document, out: &mut String) {
    for (path, value, source) in config.leaves() {
        let name = path.last().map_or("", String::as_str);
        let of_secret =
            matches!(source, Some(Source::Variable(name)) if is_secret(name) && !name.ends_with("_CONFIGURATION"));
        let value = match of_secret || looks_secret(name) {
            true => MASK.to_owned(),
            false => one_line(&masked(value)),
        };
        let source = source.map_or_else(|| "default".to_owned(), Source::to_string);
        out.push_str(&format!("{}: {value}  # {source}\n", path.join(".")));
    }
}

/// Below a list there are names too, and an address may carry a password.
fn masked(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| match looks_secret(key) {
                true => (key.clone(), Value::from(MASK)),
                false => (key.clone(), masked(value)),
            };
            Value::Object(map.iter().map(pair).collect())
        }
        Value::String(text) => Value::from(without_password(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// `https://user:password@host` without its password.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@').and_then(|(login, _)| login.split_once(':').map(|(user, _)| (user, login.len())))
    {
        Some((user, length)) => format!("{scheme}://{user}:{MASK}{}", &rest[length..]),
        None => text.to_owned(),
    }
}

fn one_line(value: &Value) -> String {
    let style = yaml::Style { flow: true, width: usize::MAX, ..yaml::Style::default() };
    yaml::emit(value, &style).trim_end().trim_end_matches("\n...").to_owned()
}

pub(crate) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::Warning(text) => format!("warning: {text}"),
        Notice::Note(text) => format!("note: {text}"),
        Notice::NotServed { what, variables } if variables.is_empty() => format!("not served yet: {what}"),
        Notice::NotServed { what, variables } => {
            format!("not served yet: {what} ({} written out, nothing acts on it)", variables.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_hidden() {
        assert_eq!(without_password("http://u:secret@h:1/x"), "http://u:***@h:1/x");
        assert_eq!(without_password("http://h:1/x@y"), "http://h:1/x@y");
    }
}
