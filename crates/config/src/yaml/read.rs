//! From parser events to values: anchors, merges, duplicate keys, line numbers.
//!
//! Hazards met here: aliases of aliases can stand for more nodes than fit into memory (expansion is
//! bounded), deep nesting overflows stacks (depth is bounded), an alias inside its own anchor never ends
//! (refused).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use super::YamlError;
use super::resolve::{self, Kind};

/// The nodes that a document may stand for, aliases expanded. The largest real files have a few thousand.
const MAX_NODES: usize = 200_000;
/// Nested collections. JSON readers of the store's other users stop near this depth too.
const MAX_DEPTH: usize = 100;

/// A document and the lines of its keys.
#[derive(Clone, PartialEq)]
pub struct Document {
    pub value: Value,
    pub lines: Lines,
}

/// The line of each key, by path: `postgresql`, `data_dir`. Items of lists count as keys `0`, `1` …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<Vec<String>, usize>);

impl Lines {
    /// The line of a key, counted from 1.
    pub fn of(&self, path: &[&str]) -> Option<usize> {
        let path: Vec<String> = path.iter().map(|p| (*p).to_owned()).collect();
        self.0.get(&path).copied()
    }
}

pub(super) fn read(text: &str) -> Result<Document, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_characters(text)?;
    let root = compose(text)?;
    let mut builder = Builder { nodes_left: MAX_NODES, path: Vec::new(), lines: Lines::default() };
    let value = match root {
        Some(node) => builder.value(&node)?,
        None => Value::Null,
    };
    Ok(Document { value, lines: builder.lines })
}

/// Lines that are moved to the right at most; see [`compose`].
const MAX_MOVED_LINES: usize = 500;
/// Farther right than any block collection stands.
const MOVE_BY: usize = 400;

/// Reads the nodes. The parser insists that lines inside brackets and quotes stand deeper than the
/// collection around them, PyYAML does not. Leading blanks mean nothing there, so such a line is moved to
/// the right and the text read again.
fn compose(text: &str) -> Result<Option<Rc<Node>>, YamlError> {
    let mut lines: Vec<Cow<'_, str>> = text.split_inclusive('\n').map(Cow::from).collect();
    let mut moved = BTreeSet::new();
    let mut current = Cow::from(text);
    loop {
        let mut composer = Composer::new(&current);
        let mut error = match composer.document() {
            Ok(root) => return Ok(root),
            Err(error) => error,
        };
        let next = match error.message.as_str() {
            m if m.starts_with("invalid indentation in quoted scalar") => {
                (error.line..lines.len()).find(|i| !moved.contains(i))
            }
            m if m.starts_with("invalid indentation") => Some(error.line - 1).filter(|i| !moved.contains(i)),
            _ => None,
        };
        let Some(line) = next.filter(|_| moved.len() < MAX_MOVED_LINES) else {
            if moved.contains(&(error.line - 1)) {
                error.column = error.column.saturating_sub(MOVE_BY).max(1);
            }
            return Err(error);
        };
        moved.insert(line);
        lines[line] = format!("{}{}", " ".repeat(MOVE_BY), lines[line]).into();
        current = lines.concat().into();
    }
}

/// Control characters and the like, which YAML forbids even in quotes.
fn check_characters(text: &str) -> Result<(), YamlError> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            || c >= '\u{10000}'
    };
    let Some((at, c)) = text.char_indices().find(|(_, c)| !allowed(*c)) else { return Ok(()) };
    let before = &text[..at];
    Err(YamlError {
        line: before.matches('\n').count() + 1,
        column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
        message: format!("expected text, found the character U+{:04X}, which YAML does not allow", u32::from(c)),
    })
}

/// A node with its place. Aliases share nodes.
struct Node {
    at: Marker,
    tag: Option<Tag>,
    body: Body,
}

/// A key and its value.
type Pair = (Rc<Node>, Rc<Node>);

enum Body {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Pair>),
}

fn at(mark: Marker, message: impl Into<String>) -> YamlError {
    YamlError { line: mark.line(), column: mark.col() + 1, message: message.into() }
}

/// Builds the tree of nodes.
struct Composer<'t> {
    text: &'t str,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Rc<Node>>,
    depth: usize,
}

impl<'t> Composer<'t> {
    fn new(text: &'t str) -> Composer<'t> {
        Composer { text, parser: Parser::new_from_str(text), anchors: HashMap::new(), depth: 0 }
    }

    /// The first document; an error when there is a second one.
    fn document(&mut self) -> Result<Option<Rc<Node>>, YamlError> {
        let mut root = None;
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if documents == 1 => {
                    return Err(at(span.start, "expected one document, found the start of a second one"));
                }
                Event::DocumentStart(_) => {
                    documents += 1;
                    root = Some(self.node()?);
                }
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.explain(&error)),
            None => Ok((Event::StreamEnd, Span::empty(Marker::default()))),
        }
    }

    /// The parser's words, with what stands at the place. A secret may stand there, so one character at most.
    fn explain(&self, error: &ScanError) -> YamlError {
        let mark = *error.marker();
        let line = self.text.lines().nth(mark.line().saturating_sub(1)).unwrap_or("");
        let found = match line.chars().nth(mark.col()) {
            Some('\t') => "a tab".to_owned(),
            Some(c) => format!("'{c}'"),
            None if self.text.lines().count() <= mark.line() => "the end of the text".to_owned(),
            None => "the end of the line".to_owned(),
        };
        at(mark, format!("{}; found {found}", error.info()))
    }

    fn node(&mut self) -> Result<Rc<Node>, YamlError> {
        let next = self.next()?;
        self.node_from(next)
    }

    fn node_from(&mut self, (event, span): (Event<'t>, Span)) -> Result<Rc<Node>, YamlError> {
        let place = span.start;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let text = self.without_missing_break(text.into_owned(), style, span);
                let body = Body::Scalar { text, plain };
                Ok(self.finish(anchor, Node { at: place, tag: tag.map(Cow::into_owned), body }))
            }
            Event::SequenceStart(anchor, tag) => {
                let items = self.nested(place, Self::sequence)?;
                let body = Body::Sequence(items);
                Ok(self.finish(anchor, Node { at: place, tag: tag.map(Cow::into_owned), body }))
            }
            Event::MappingStart(anchor, tag) => {
                let pairs = self.nested(place, Self::mapping)?;
                let body = Body::Mapping(pairs);
                Ok(self.finish(anchor, Node { at: place, tag: tag.map(Cow::into_owned), body }))
            }
            Event::Alias(anchor) => self
                .anchors
                .get(&anchor)
                .cloned()
                .ok_or_else(|| at(place, "expected an alias to a finished value, found one inside its own anchor")),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(at(place, "expected a value, found none")),
        }
    }

    /// A block scalar that ends the text has a final line break only if the text has it.
    fn without_missing_break(&self, mut scalar: String, style: ScalarStyle, span: Span) -> String {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block && !self.text.ends_with(['\n', '\r']) && span.end.index() >= self.text.chars().count() {
            scalar.truncate(scalar.trim_end_matches('\n').len().max(scalar.len().saturating_sub(1)));
        }
        scalar
    }

    /// Remembers anchored nodes (anchors count from 1).
    fn finish(&mut self, anchor: usize, node: Node) -> Rc<Node> {
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        node
    }

    fn nested<T>(
        &mut self,
        place: Marker,
        read: impl FnOnce(&mut Self) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(at(place, format!("expected at most {MAX_DEPTH} nested levels, found one more")));
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn sequence(&mut self) -> Result<Vec<Rc<Node>>, YamlError> {
        let mut items = Vec::new();
        loop {
            let next = self.next()?;
            if next.0 == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node_from(next)?);
        }
    }

    fn mapping(&mut self) -> Result<Vec<Pair>, YamlError> {
        let mut pairs = Vec::new();
        loop {
            let next = self.next()?;
            if next.0 == Event::MappingEnd {
                return Ok(pairs);
            }
            let key = self.node_from(next)?;
            pairs.push((key, self.node()?));
        }
    }
}

/// Makes values of nodes.
struct Builder {
    nodes_left: usize,
    path: Vec<String>,
    lines: Lines,
}

const CORE: &str = "tag:yaml.org,2002:";

impl Node {
    /// The name of an explicit core tag (`str`), or the whole of another one.
    fn tag_name(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        match (tag.handle.as_str(), tag.suffix.as_str()) {
            // A bare `!` changes nothing for PyYAML.
            ("" | "!", "" | "!") => None,
            (CORE, suffix) => Some(suffix.to_owned()),
            (handle, suffix) => Some(format!("{handle}{suffix}")),
        }
    }

    fn kind_name(&self) -> &'static str {
        match self.body {
            Body::Scalar { .. } => "a scalar",
            Body::Sequence(_) => "a list",
            Body::Mapping(_) => "a mapping",
        }
    }

    fn is_merge_key(&self) -> bool {
        match &self.body {
            Body::Scalar { text, plain: true } => self.tag.is_none() && resolve::kind(text) == Kind::Merge,
            Body::Scalar { .. } => self.tag_name().as_deref() == Some("merge"),
            Body::Sequence(_) | Body::Mapping(_) => false,
        }
    }
}

impl Builder {
    fn value(&mut self, node: &Node) -> Result<Value, YamlError> {
        self.spend(1, node.at)?;
        let tag = node.tag_name();
        match (&node.body, tag.as_deref()) {
            (Body::Scalar { text, plain }, tag) => scalar(node, text, *plain, tag),
            (Body::Sequence(items), None | Some("seq")) => self.sequence(items),
            (Body::Mapping(pairs), None | Some("map")) => self.mapping(pairs),
            (Body::Sequence(_) | Body::Mapping(_), Some(tag)) => Err(at(
                node.at,
                format!("expected a list or a mapping, found one with the tag '{tag}', which has no meaning here"),
            )),
        }
    }

    fn spend(&mut self, nodes: usize, place: Marker) -> Result<(), YamlError> {
        let left = self.nodes_left.checked_sub(nodes);
        let too_many = || at(place, format!("expected at most {MAX_NODES} values, aliases expanded, found more"));
        self.nodes_left = left.ok_or_else(too_many)?;
        Ok(())
    }

    fn sequence(&mut self, items: &[Rc<Node>]) -> Result<Value, YamlError> {
        let mut values = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            values.push(self.below(i.to_string(), item.at, item)?);
        }
        Ok(Value::Array(values))
    }

    /// Of equal keys the last one counts, at the place of the first.
    fn mapping(&mut self, pairs: &[Pair]) -> Result<Value, YamlError> {
        let mut map = Map::new();
        for (key, node) in self.flatten(pairs)? {
            let name = key_text(&key)?;
            // A list or mapping itself begins on the line below its key.
            let value = self.below(name.clone(), key.at, &node)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }

    fn below(&mut self, key: String, place: Marker, node: &Node) -> Result<Value, YamlError> {
        self.path.push(key);
        self.lines.0.insert(self.path.clone(), place.line());
        let value = self.value(node);
        self.path.pop();
        value
    }

    /// Puts what `<<` merges in front of the mapping's own pairs, so that the own ones win. In a list of
    /// mappings the earlier ones win.
    fn flatten(&mut self, pairs: &[Pair]) -> Result<Vec<Pair>, YamlError> {
        if let Some((key, _)) = pairs.first() {
            self.spend(1, key.at)?;
        }
        let (merges, own): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|(key, _)| key.is_merge_key());
        let mut merged = Vec::new();
        for (_, source) in merges {
            match &source.body {
                Body::Mapping(pairs) => merged.extend(self.flatten(pairs)?),
                Body::Sequence(items) => {
                    for item in items.iter().rev() {
                        let Body::Mapping(pairs) = &item.body else { return Err(no_merge(item)) };
                        merged.extend(self.flatten(pairs)?);
                    }
                }
                Body::Scalar { .. } => return Err(no_merge(source)),
            }
            self.spend(merged.len() + 1, source.at)?;
        }
        merged.extend(own.into_iter().cloned());
        Ok(merged)
    }
}

fn no_merge(node: &Node) -> YamlError {
    at(node.at, format!("expected a mapping or a list of mappings to merge, found {}", node.kind_name()))
}

fn scalar(node: &Node, text: &str, plain: bool, tag: Option<&str>) -> Result<Value, YamlError> {
    let value = match tag {
        None if plain => resolve::value(text),
        None | Some("str") => Ok(Value::String(text.to_owned())),
        Some("int") => resolve::int(text),
        Some("float") => resolve::float(text),
        Some("bool") => resolve::tagged_boolean(text),
        Some("null") => Ok(Value::Null),
        Some("timestamp") => resolve::timestamp(text).map(Value::String),
        Some(tag) => Err(format!("found the tag '{tag}', which has no meaning in a configuration")),
    };
    value.map_err(|message| at(node.at, format!("expected a value; {message}")))
}

/// A key as text; numbers, booleans and null as JSON writes them.
fn key_text(node: &Node) -> Result<String, YamlError> {
    let Body::Scalar { text, plain } = &node.body else {
        return Err(at(node.at, format!("expected a key that is a text, found {}", node.kind_name())));
    };
    if *plain && node.tag.is_none() && resolve::kind(text) == Kind::Value {
        return Ok(text.clone());
    }
    Ok(match scalar(node, text, *plain, node.tag_name().as_deref())? {
        Value::String(text) => text,
        other => crate::python::json(&other),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse;
    use super::*;

    #[test]
    fn merges_put_earlier_mappings_first_and_own_keys_before_all() {
        let text = "a: &a {xx: 1, yy: 1}\nb: &b {xx: 2, yy: 2, zz: 2}\nc:\n  yy: 3\n  <<: [*a, *b]\n";
        assert_eq!(parse(text).expect("valid")["c"], json!({"xx": 1, "yy": 3, "zz": 2}));
    }

    #[test]
    fn errors_name_the_place_and_what_was_found() {
        for (text, line, column, part) in [
            ("a: 1\nb: [1, 2\nc: 3\n", 3, 2, "found"),
            ("a: b: c\n", 1, 5, "found ':'"),
            ("a:\n\t- b\n", 2, 2, "tab"),
            ("a: *nope\n", 1, 4, "anchor"),
            ("a: &x [*x]\n", 1, 8, "own anchor"),
            ("a: 1\n---\nb: 2\n", 2, 1, "second"),
            ("a: \u{1}\n", 1, 4, "U+0001"),
            ("? [a]\n: 1\n", 1, 3, "key"),
            ("a: !vault x\n", 1, 4, "!vault"),
            ("<<: 1\n", 1, 5, "merge"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.message.contains(part), "{text:?}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        }
    }

    #[test]
    fn aliases_cannot_grow_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..30 {
            let previous = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
        }
        let error = parse(&text).expect_err("ten to the thirtieth values");
        assert!(error.message.contains("at most 200000 values"), "{error}");
        let mut text = "a0: &a0 {}\n".to_owned();
        for i in 1..30 {
            let previous = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} {{<<: [{previous}]}}\n"));
        }
        assert!(parse(&text).expect_err("merges").message.contains("at most 200000 values"));
        let deep = "- ".repeat(5000);
        assert!(parse(&deep).expect_err("deep").message.contains("nested"));
    }

    #[test]
    fn lines_are_known_by_path() {
        let document = read("a: 1\npostgresql:\n  listen: x\n  pg_hba:\n  - one\n  - two\n").expect("valid");
        assert_eq!(document.lines.of(&["postgresql", "listen"]), Some(3));
        assert_eq!(document.lines.of(&["postgresql"]), Some(2), "where its name stands, not what is below it");
        assert_eq!(document.lines.of(&["postgresql", "pg_hba", "1"]), Some(6));
        assert_eq!(document.lines.of(&["nope"]), None);
    }

    #[test]
    fn keys_are_texts() {
        assert_eq!(
            parse("{1: a, on: b, ~: c, =: d, 2001-01-01: e}").expect("valid"),
            json!({
                "1": "a", "true": "b", "null": "c", "=": "d", "2001-01-01": "e",
            })
        );
    }
}
