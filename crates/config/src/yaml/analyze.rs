//! Which styles a text can be printed in.

use super::resolve::{self, Kind};

/// Line breaks of YAML 1.1, `\r` excepted: PyYAML escapes that one.
pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_space_or_break(c: char) -> bool {
    matches!(c, '\0' | ' ' | '\t' | '\r') || is_break(c)
}

/// What PyYAML finds out about a text before it chooses a style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Analysis {
    pub empty: bool,
    pub multiline: bool,
    pub allow_flow_plain: bool,
    pub allow_block_plain: bool,
    pub allow_single_quoted: bool,
}

/// Whitespace that rules out styles.
#[derive(Default)]
struct Whitespace {
    leading_or_trailing: bool,
    break_then_space: bool,
    space_then_break: bool,
}

pub(super) fn analyze(text: &[char], allow_unicode: bool) -> Analysis {
    if text.is_empty() {
        return Analysis {
            empty: true,
            multiline: false,
            allow_flow_plain: false,
            allow_block_plain: true,
            allow_single_quoted: true,
        };
    }
    let (flow_indicators, block_indicators) = indicators(text);
    let multiline = text.iter().any(|c| is_break(*c));
    let special = text.iter().any(|c| is_special(*c, allow_unicode));
    let whitespace = whitespace(text);
    let plain = !(whitespace.leading_or_trailing
        || whitespace.break_then_space
        || whitespace.space_then_break
        || special
        || multiline);
    Analysis {
        empty: false,
        multiline,
        allow_flow_plain: plain && !flow_indicators,
        allow_block_plain: plain && !block_indicators,
        allow_single_quoted: !(whitespace.break_then_space || whitespace.space_then_break || special),
    }
}

/// Characters that mean something in YAML: (in flow style, in block style).
fn indicators(text: &[char]) -> (bool, bool) {
    let document = text.starts_with(&['-', '-', '-']) || text.starts_with(&['.', '.', '.']);
    let (mut flow, mut block) = (document, document);
    for (i, c) in text.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|p| text.get(p)).is_none_or(|c| is_space_or_break(*c));
        let after = text.get(i + 1).is_none_or(|c| is_space_or_break(*c));
        let (in_flow, in_block) = match (i, c) {
            (0, '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`') => {
                (true, true)
            }
            (0, '?' | ':') => (true, after),
            (0, '-') => (after, after),
            (0, _) => (false, false),
            (_, ',' | '?' | '[' | ']' | '{' | '}') => (true, false),
            (_, ':') => (true, after),
            (_, '#') => (before, before),
            (_, _) => (false, false),
        };
        flow |= in_flow;
        block |= in_block;
    }
    (flow, block)
}

/// Characters that only double quotes can carry.
fn is_special(c: char, allow_unicode: bool) -> bool {
    if c == '\n' || (' '..='~').contains(&c) {
        return false;
    }
    let printable = c == '\u{85}'
        || ('\u{a0}'..='\u{d7ff}').contains(&c)
        || ('\u{e000}'..='\u{fffd}').contains(&c)
        || ('\u{10000}'..'\u{10ffff}').contains(&c);
    !(printable && c != '\u{feff}' && allow_unicode)
}

fn whitespace(text: &[char]) -> Whitespace {
    let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
    Whitespace {
        leading_or_trailing: edge(text.first()) || edge(text.last()),
        break_then_space: text.windows(2).any(|w| is_break(w[0]) && w[1] == ' '),
        space_then_break: text.windows(2).any(|w| w[0] == ' ' && is_break(w[1])),
    }
}

/// True when the text, printed plainly, would read back as itself.
pub(super) fn reads_as_text(text: &str) -> bool {
    resolve::kind(text) == Kind::Text
}
