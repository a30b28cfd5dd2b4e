//! Printing values as PyYAML's `safe_dump`.
//!
//! The walk over collections; how texts are quoted and folded is in `scalar.rs`.

use serde_json::Value;

use super::scalar::Writer;
use crate::python::number_text;

/// What `safe_dump` is told. The default is what most callers pass: block style, sorted keys, unicode as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    pub sort_keys: bool,
    /// False escapes everything outside ASCII.
    pub allow_unicode: bool,
    /// True prints on one line where it fits: `{a: 1, b: [2]}`.
    pub flow: bool,
    /// The column after which long texts are folded.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { sort_keys: true, allow_unicode: true, flow: false, width: 80 }
    }
}

/// The document, ending in a line break.
pub fn emit(value: &Value, style: &Style) -> String {
    let mut emitter = Emitter { writer: Writer::new(style.allow_unicode, style.width), sort_keys: style.sort_keys };
    emitter.node(value, style.flow, Context::Root);
    emitter.writer.end_document()
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Root,
    Item,
    Value,
}

/// Keys as long as this, with the five characters of their tag, need the `? key` form.
const SIMPLE_KEY_LIMIT: usize = 128;
const TAG_LENGTH: usize = 5;

struct Emitter {
    writer: Writer,
    sort_keys: bool,
}

impl Emitter {
    fn node(&mut self, value: &Value, flow: bool, context: Context) {
        match value {
            Value::Array(items) if flow || items.is_empty() => self.flow_sequence(items),
            Value::Array(items) => self.block_sequence(items, context),
            Value::Object(map) if flow || map.is_empty() => self.flow_mapping(&self.pairs(map)),
            Value::Object(map) => self.block_mapping(&self.pairs(map)),
            Value::Null => self.writer.plain_value("null", context == Context::Root),
            Value::Bool(true) => self.writer.plain_value("true", context == Context::Root),
            Value::Bool(false) => self.writer.plain_value("false", context == Context::Root),
            Value::Number(number) => self.writer.plain_value(&yaml_number(number), context == Context::Root),
            Value::String(text) => self.writer.text(text, context == Context::Root, false),
        }
    }

    fn pairs<'v>(&self, map: &'v serde_json::Map<String, Value>) -> Vec<(&'v str, &'v Value)> {
        let mut pairs: Vec<(&str, &Value)> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
        if self.sort_keys {
            pairs.sort_by_key(|(key, _)| *key);
        }
        pairs
    }

    fn flow_sequence(&mut self, items: &[Value]) {
        self.writer.open_flow('[');
        for (i, item) in items.iter().enumerate() {
            self.next_in_flow(i);
            self.node(item, true, Context::Item);
        }
        self.writer.close_flow(']');
    }

    fn flow_mapping(&mut self, pairs: &[(&str, &Value)]) {
        self.writer.open_flow('{');
        for (i, (key, value)) in pairs.iter().enumerate() {
            self.next_in_flow(i);
            if is_simple_key(key) {
                self.writer.text(key, false, true);
                self.writer.indicator(":", false);
            } else {
                self.writer.indicator("?", true);
                self.writer.text(key, false, false);
                self.writer.break_when_long();
                self.writer.indicator(":", true);
            }
            self.node(value, true, Context::Value);
        }
        self.writer.close_flow('}');
    }

    fn next_in_flow(&mut self, index: usize) {
        if index > 0 {
            self.writer.indicator(",", false);
        }
        self.writer.break_when_long();
    }

    /// A list below a key stands at the key's own indentation.
    fn block_sequence(&mut self, items: &[Value], context: Context) {
        let indentless = context == Context::Value && !self.writer.at_indention();
        let outer = self.writer.increase_indent(false, indentless);
        for item in items {
            self.writer.write_indent();
            self.writer.block_indicator("-");
            self.node(item, false, Context::Item);
        }
        self.writer.restore_indent(outer);
    }

    fn block_mapping(&mut self, pairs: &[(&str, &Value)]) {
        let outer = self.writer.increase_indent(false, false);
        for (key, value) in pairs {
            self.writer.write_indent();
            if is_simple_key(key) {
                self.writer.text(key, false, true);
                self.writer.indicator(":", false);
            } else {
                self.writer.block_indicator("?");
                self.writer.text(key, false, false);
                self.writer.write_indent();
                self.writer.block_indicator(":");
            }
            self.node(value, false, Context::Value);
        }
        self.writer.restore_indent(outer);
    }
}

fn is_simple_key(key: &str) -> bool {
    let multiline = key.chars().any(super::analyze::is_break);
    !key.is_empty() && !multiline && key.chars().count() + TAG_LENGTH < SIMPLE_KEY_LIMIT
}

/// YAML wants a dot in a float with an exponent: `1.0e+16`.
fn yaml_number(number: &serde_json::Number) -> String {
    let text = number_text(number);
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{dump, parse};
    use super::*;

    #[test]
    fn block_style_is_patronis() {
        let value = json!({
            "ttl": 30, "postgresql": {"use_pg_rewind": true, "pg_hba": ["host all all all md5", "local all"], "parameters": {}},
            "tags": {"on": "off", "port": "5432", "empty": "", "none": null, "list": []}, "f": 1e16,
        });
        let expected = "f: 1.0e+16\npostgresql:\n  parameters: {}\n  pg_hba:\n  - host all all all md5\n  - local all\n  \
                        use_pg_rewind: true\ntags:\n  empty: ''\n  list: []\n  none: null\n  'on': 'off'\n  port: '5432'\nttl: 30\n";
        assert_eq!(dump(&value), expected);
        assert_eq!(parse(expected), Ok(value));
    }

    #[test]
    fn flow_style_and_roots() {
        let flow = Style { flow: true, ..Style::default() };
        assert_eq!(emit(&json!({"b": [1, "x, y"], "a": {}}), &flow), "{a: {}, b: [1, 'x, y']}\n");
        assert_eq!(dump(&json!("text")), "text\n...\n");
        assert_eq!(dump(&json!(null)), "null\n...\n");
        assert_eq!(dump(&json!("")), "''\n");
    }
}
