//! Printing scalars: choice of style, quoting, escaping, folding.

use super::analyze::{analyze, is_break, reads_as_text};

const INDENT: usize = 2;

/// The output with what PyYAML's emitter keeps in mind about its end.
pub(super) struct Writer {
    out: String,
    allow_unicode: bool,
    width: usize,
    indent: Option<usize>,
    flow_level: usize,
    column: usize,
    /// The last thing written was whitespace.
    whitespace: bool,
    /// Nothing but indentation and block indicators stands on the line.
    indention: bool,
    /// The document could go on: `...` has to end it.
    open_ended: bool,
}

impl Writer {
    pub fn new(allow_unicode: bool, width: usize) -> Writer {
        Writer {
            out: String::new(),
            allow_unicode,
            // PyYAML does not accept less than twice the indentation.
            width: if width > INDENT * 2 { width } else { 80 },
            indent: None,
            flow_level: 0,
            column: 0,
            whitespace: true,
            indention: true,
            open_ended: false,
        }
    }

    pub fn end_document(mut self) -> String {
        self.write_indent();
        if self.open_ended {
            self.indicator("...", true);
            self.write_indent();
        }
        self.out
    }

    pub fn at_indention(&self) -> bool {
        self.indention
    }

    /// Returns the outer indentation, for [`Writer::restore_indent`].
    pub fn increase_indent(&mut self, flow: bool, indentless: bool) -> Option<usize> {
        let outer = self.indent;
        self.indent = match outer {
            None => Some(if flow { INDENT } else { 0 }),
            Some(indent) if indentless => Some(indent),
            Some(indent) => Some(indent + INDENT),
        };
        outer
    }

    pub fn restore_indent(&mut self, outer: Option<usize>) {
        self.indent = outer;
    }

    fn push(&mut self, text: &[char]) {
        self.column += text.len();
        self.out.extend(text);
    }

    pub fn indicator(&mut self, indicator: &str, need_whitespace: bool) {
        self.write_indicator(indicator, need_whitespace, false, false);
    }

    /// `-`, `?` and `:` of block collections: a collection may follow on the same line.
    pub fn block_indicator(&mut self, indicator: &str) {
        self.write_indicator(indicator, true, false, true);
    }

    fn write_indicator(&mut self, indicator: &str, need_whitespace: bool, whitespace: bool, indention: bool) {
        if need_whitespace && !self.whitespace {
            self.push(&[' ']);
        }
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
        self.open_ended = false;
        self.column += indicator.chars().count();
        self.out.push_str(indicator);
    }

    pub fn open_flow(&mut self, bracket: char) {
        self.write_indicator(&bracket.to_string(), true, true, false);
        self.flow_level += 1;
        let indent = self.indent.map_or(INDENT, |indent| indent + INDENT);
        self.indent = Some(indent);
    }

    pub fn close_flow(&mut self, bracket: char) {
        self.flow_level -= 1;
        self.indent = self.indent.and_then(|indent| indent.checked_sub(INDENT));
        self.indicator(&bracket.to_string(), false);
    }

    pub fn break_when_long(&mut self) {
        if self.column > self.width {
            self.write_indent();
        }
    }

    pub fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break('\n');
        }
        if self.column < indent {
            self.whitespace = true;
            let missing = vec![' '; indent - self.column];
            self.push(&missing);
        }
    }

    fn line_break(&mut self, c: char) {
        self.whitespace = true;
        self.indention = true;
        self.column = 0;
        self.out.push(c);
    }

    /// A number, boolean or null.
    pub fn plain_value(&mut self, text: &str, root: bool) {
        let outer = self.increase_indent(true, false);
        self.plain(&text.chars().collect::<Vec<_>>(), root, true);
        self.restore_indent(outer);
    }

    /// A text in the style that PyYAML chooses. Keys are never folded.
    pub fn text(&mut self, text: &str, root: bool, key: bool) {
        let chars: Vec<char> = text.chars().collect();
        let analysis = analyze(&chars, self.allow_unicode);
        let fits_plain = if self.flow_level > 0 { analysis.allow_flow_plain } else { analysis.allow_block_plain };
        let awkward_key = key && (analysis.empty || analysis.multiline);
        let outer = self.increase_indent(true, false);
        if reads_as_text(text) && fits_plain && !awkward_key {
            self.plain(&chars, root, !key);
        } else if analysis.allow_single_quoted && !(key && analysis.multiline) {
            self.single_quoted(&chars, !key);
        } else {
            self.double_quoted(&chars, !key);
        }
        self.restore_indent(outer);
    }

    /// Plain texts never hold line breaks.
    fn plain(&mut self, text: &[char], root: bool, split: bool) {
        if root {
            self.open_ended = true;
        }
        if text.is_empty() {
            return;
        }
        if !self.whitespace {
            self.push(&[' ']);
        }
        self.whitespace = false;
        self.indention = false;
        for (start, end) in runs(text, |c| c == ' ') {
            let run = &text[start..end];
            if run == [' '] && self.column > self.width && split {
                self.write_indent();
                self.whitespace = false;
                self.indention = false;
            } else {
                self.push(run);
            }
        }
    }

    fn single_quoted(&mut self, text: &[char], split: bool) {
        self.indicator("'", true);
        for (start, end) in runs(text, |c| c == ' ' || is_break(c)) {
            let run = &text[start..end];
            match run[0] {
                ' ' => {
                    let inside = start != 0 && end != text.len();
                    if run.len() == 1 && self.column > self.width && split && inside {
                        self.write_indent();
                    } else {
                        self.push(run);
                    }
                }
                c if is_break(c) => self.breaks(run),
                _ => {
                    run.iter().for_each(|c| self.push(if *c == '\'' { &['\'', '\''] } else { std::slice::from_ref(c) }))
                }
            }
        }
        self.indicator("'", false);
    }

    fn breaks(&mut self, run: &[char]) {
        if run[0] == '\n' {
            self.line_break('\n');
        }
        run.iter().for_each(|c| self.line_break(*c));
        self.write_indent();
    }

    /// Folds with a backslash at the end of the line, after the first space or escape beyond the width.
    fn double_quoted(&mut self, text: &[char], split: bool) {
        self.indicator("\"", true);
        let mut start = 0;
        let mut end = 0;
        while end <= text.len() {
            let c = text.get(end).copied();
            if c.is_none_or(|c| self.needs_escape(c)) {
                self.push(&text[start..end]);
                start = end;
                if let Some(c) = c {
                    self.push(&escaped(c).chars().collect::<Vec<_>>());
                    start = end + 1;
                }
            }
            let inside = 0 < end && end + 1 < text.len();
            // Right after an escape `start` is one beyond `end`, and PyYAML counts that one back.
            let column = (self.column + end).saturating_sub(start);
            if inside && (c == Some(' ') || start >= end) && column > self.width && split {
                self.push(&text[start..end.max(start)]);
                self.push(&['\\']);
                start = start.max(end);
                self.write_indent();
                self.whitespace = false;
                self.indention = false;
                if text.get(start) == Some(&' ') {
                    self.push(&['\\']);
                }
            }
            end += 1;
        }
        self.indicator("\"", false);
    }

    fn needs_escape(&self, c: char) -> bool {
        let unicode = ('\u{a0}'..='\u{d7ff}').contains(&c) || ('\u{e000}'..='\u{fffd}').contains(&c);
        matches!(c, '"' | '\\' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
            || !((' '..='~').contains(&c) || (self.allow_unicode && unicode))
    }
}

fn escaped(c: char) -> String {
    match c {
        '\0' => "\\0".into(),
        '\u{7}' => "\\a".into(),
        '\u{8}' => "\\b".into(),
        '\t' => "\\t".into(),
        '\n' => "\\n".into(),
        '\u{b}' => "\\v".into(),
        '\u{c}' => "\\f".into(),
        '\r' => "\\r".into(),
        '\u{1b}' => "\\e".into(),
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\u{85}' => "\\N".into(),
        '\u{a0}' => "\\_".into(),
        '\u{2028}' => "\\L".into(),
        '\u{2029}' => "\\P".into(),
        c if c <= '\u{ff}' => format!("\\x{:02X}", u32::from(c)),
        c if c <= '\u{ffff}' => format!("\\u{:04X}", u32::from(c)),
        c => format!("\\U{:08X}", u32::from(c)),
    }
}

/// Runs of separators of one class (spaces, breaks) and runs of the rest, as index ranges.
fn runs(text: &[char], separates: impl Fn(char) -> bool) -> Vec<(usize, usize)> {
    let class = |c: char| match separates(c) {
        true if c == ' ' => 0,
        true => 1,
        false => 2,
    };
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in 1..=text.len() {
        if end == text.len() || class(text[end]) != class(text[start]) {
            ranges.push((start, end));
            start = end;
        }
    }
    ranges
}
