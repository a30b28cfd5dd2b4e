//! `synchronous_standby_names`: reading PostgreSQL's grammar (`syncrep_scanner.l`, `syncrep_gram.y`) and writing it
//! as Patroni does.

use std::fmt;

use super::Names;
use crate::MemberName;

/// Stands for the standby that is yet to come while strict mode has nobody to wait for: Patroni's from 4.2 on. `*`, which
/// 4.1 sets, lets anybody confirm who streams, a `nosync` member or `pg_receivewal` too. No member may be called so.
/// Only the server on which it is set reads it: members of 4.1 beside it see nothing of it.
pub const PLACEHOLDER: &str = "__patroni_strict_sync_replica_placeholder__";

/// How the named standbys are chosen from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nobody is waited for.
    #[default]
    Off,
    /// The first so many in the order of the list.
    Priority,
    /// Any so many of the list.
    Quorum,
}

/// A value of `synchronous_standby_names`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandbyNames {
    pub kind: Kind,
    /// How many have to confirm.
    pub number: u32,
    pub names: Names,
    /// `*` is in the list: every standby counts, known or not.
    pub star: bool,
    /// The list is [`PLACEHOLDER`] alone: no standby counts, and commits wait.
    pub held: bool,
}

/// The text is no value that PostgreSQL would take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no value of synchronous_standby_names: {why}")]
pub struct NamesError {
    pub text: String,
    pub why: String,
}

impl StandbyNames {
    pub fn off() -> StandbyNames {
        StandbyNames::default()
    }

    /// All of `names` have to confirm.
    pub fn all(names: Names) -> StandbyNames {
        match names.len() {
            0 => StandbyNames::off(),
            number => StandbyNames { kind: Kind::Priority, number: count(number), names, ..StandbyNames::off() },
        }
    }

    /// Any `number` of `names` have to confirm.
    pub fn any(number: u32, names: Names) -> StandbyNames {
        if names.is_empty() || number == 0 {
            return StandbyNames::off();
        }
        StandbyNames { kind: Kind::Quorum, number, names, ..StandbyNames::off() }
    }

    /// Commits wait until there are standbys to name.
    pub fn held(kind: Kind) -> StandbyNames {
        StandbyNames { kind, number: 1, held: true, ..StandbyNames::off() }
    }

    /// Whether it names members, each by its name.
    pub fn names_members(&self) -> bool {
        !self.star && !self.names.is_empty()
    }

    /// Reads a value in force. `FIRST`, `ANY` and plain lists, names quoted or not.
    pub fn parse(text: &str) -> Result<StandbyNames, NamesError> {
        let refused = |why: String| NamesError { text: text.to_owned(), why };
        let tokens = tokens(text).map_err(refused)?;
        read(&tokens).map_err(|why| NamesError { text: text.to_owned(), why })
    }

    pub fn lists(&self, name: &MemberName) -> bool {
        self.star || self.names.contains(name)
    }

    /// Those that no commit is acknowledged without.
    pub fn indispensable(&self) -> Names {
        let all = !self.star && self.number as usize >= self.names.len();
        if all { self.names.clone() } else { Names::new() }
    }

    /// The same with each name spelled as the member is: PostgreSQL compares them without regard to case.
    pub fn spelled_like<'a>(mut self, members: impl Iterator<Item = &'a MemberName> + Clone) -> StandbyNames {
        let spell = |name: MemberName| members.clone().find(|m| m.matches(name.as_str())).cloned().unwrap_or(name);
        self.names = self.names.into_iter().map(spell).collect();
        self
    }
}

impl fmt::Display for StandbyNames {
    /// Patroni's form: one name alone stands bare, several as `N (a,b)`, a quorum as `ANY N (a,b)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list: Vec<String> = self.names.iter().map(|name| quoted(name.as_str())).collect();
        if self.star {
            list = vec!["*".to_owned()];
        }
        if self.held {
            list = vec![PLACEHOLDER.to_owned()];
        }
        let listed = list.join(",");
        match self.kind {
            Kind::Off => Ok(()),
            Kind::Priority if list.len() == 1 => f.write_str(&listed),
            Kind::Priority => write!(f, "{} ({listed})", self.number),
            Kind::Quorum => write!(f, "ANY {} ({listed})", self.number),
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn quoted(name: &str) -> String {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    let word = name.eq_ignore_ascii_case("first") || name.eq_ignore_ascii_case("any");
    if plain && !word { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A bare word: a name, or `FIRST` and `ANY` where these are expected.
    Word(String),
    Quoted(String),
    Number(String),
    Star,
    Comma,
    Open,
    Close,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (token, length) = match c {
            c if c.is_ascii_whitespace() => (None, 1),
            ',' => (Some(Token::Comma), 1),
            '(' => (Some(Token::Open), 1),
            ')' => (Some(Token::Close), 1),
            '*' => (Some(Token::Star), 1),
            '"' => {
                let (name, length) = quoted_name(rest)?;
                (Some(Token::Quoted(name)), length)
            }
            c if c.is_ascii_digit() => {
                let digits = run(rest, |c| c.is_ascii_digit());
                (Some(Token::Number(digits.to_owned())), digits.len())
            }
            c if c.is_ascii_alphabetic() || c == '_' || !c.is_ascii() => {
                let word = run(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii());
                (Some(Token::Word(word.to_owned())), word.len())
            }
            other => return Err(format!("'{other}' is not expected")),
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    &text[..end]
}

/// The name in quotes at the beginning of `text`, and how many bytes it takes with them.
fn quoted_name(text: &str) -> Result<(String, usize), String> {
    let mut name = String::new();
    let mut from = 1;
    loop {
        let Some(end) = text[from..].find('"') else { return Err("a quoted name does not end".to_owned()) };
        name.push_str(&text[from..from + end]);
        from += end + 1;
        if !text[from..].starts_with('"') {
            return Ok((name, from));
        }
        name.push('"');
        from += 1;
    }
}

fn read(tokens: &[Token]) -> Result<StandbyNames, String> {
    let is = |word: &str, token: &Token| matches!(token, Token::Word(w) if w.eq_ignore_ascii_case(word));
    let (kind, number, list) = match tokens {
        [] => return Ok(StandbyNames::off()),
        [word, Token::Number(n), Token::Open, list @ .., Token::Close] if is("any", word) => (Kind::Quorum, n, list),
        [word, Token::Number(n), Token::Open, list @ .., Token::Close] if is("first", word) => {
            (Kind::Priority, n, list)
        }
        [Token::Number(n), Token::Open, list @ .., Token::Close] => (Kind::Priority, n, list),
        list => return names_of(list, Kind::Priority, 1),
    };
    let number: u32 = number.parse().map_err(|_| format!("{number} is too large"))?;
    if number == 0 {
        return Err("at least one standby has to be asked for".to_owned());
    }
    names_of(list, kind, number)
}

fn names_of(list: &[Token], kind: Kind, number: u32) -> Result<StandbyNames, String> {
    let mut read = StandbyNames { kind, number, ..StandbyNames::off() };
    if list.len().is_multiple_of(2) {
        return Err("a name is missing".to_owned());
    }
    for (place, token) in list.iter().enumerate() {
        match token {
            Token::Comma if place % 2 == 1 => {}
            // PostgreSQL takes a number for a name where a name is expected.
            Token::Word(name) | Token::Quoted(name) | Token::Number(name) if place % 2 == 0 => {
                read.names.insert(MemberName::from(name.as_str()));
            }
            Token::Star if place % 2 == 0 => read.star = true,
            Token::Word(_) | Token::Quoted(_) | Token::Number(_) | Token::Star | Token::Comma => {
                return Err("names are to be separated by commas".to_owned());
            }
            Token::Open | Token::Close => return Err("a bracket is not expected there".to_owned()),
        }
    }
    if read.names.len() == 1 && read.names.remove(PLACEHOLDER) {
        read.held = !read.star;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> StandbyNames {
        StandbyNames::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn names(list: &[&str]) -> Names {
        list.iter().map(|n| MemberName::from(*n)).collect()
    }

    #[test]
    fn every_form_is_read() {
        for (text, kind, number, members, star) in [
            ("", Kind::Off, 0, vec![], false),
            (" FiRsT ", Kind::Priority, 1, vec!["FiRsT"], false),
            ("1", Kind::Priority, 1, vec!["1"], false),
            ("\"1\"", Kind::Priority, 1, vec!["1"], false),
            (" a , b ", Kind::Priority, 1, vec!["a", "b"], false),
            ("2 (a,b)", Kind::Priority, 2, vec!["a", "b"], false),
            ("first 2 (a,b)", Kind::Priority, 2, vec!["a", "b"], false),
            ("ANY 4(\"a\",*,b)", Kind::Quorum, 4, vec!["a", "b"], true),
            ("any 1 (\"x y\",\"a\"\"b\",any)", Kind::Quorum, 1, vec!["a\"b", "any", "x y"], false),
            ("*", Kind::Priority, 1, vec![], true),
        ] {
            let expected = StandbyNames { kind, number, names: names(&members), star, held: false };
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_postgresql_refuses_is_refused() {
        for text in ["a,", "ANY 4(\"a\" b,\"c c\")", "FIRST 4(\"a\",)", "2 (,)", "0 (a)", "ANY 1 a", "\"a", "a;b"] {
            assert!(StandbyNames::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_written_as_patroni_writes_them() {
        for (value, text) in [
            (StandbyNames::off(), ""),
            (StandbyNames::all(names(&[])), ""),
            (StandbyNames::all(names(&["node_1"])), "node_1"),
            (StandbyNames::all(names(&["node-1"])), "\"node-1\""),
            (StandbyNames::all(names(&["b", "a"])), "2 (a,b)"),
            (StandbyNames::any(1, names(&["any", "9a", "a\"b"])), "ANY 1 (\"9a\",\"a\"\"b\",\"any\")"),
            (StandbyNames::any(1, names(&["b"])), "ANY 1 (b)"),
            (StandbyNames::any(0, names(&[])), ""),
            (StandbyNames::held(Kind::Priority), "__patroni_strict_sync_replica_placeholder__"),
            (StandbyNames::held(Kind::Quorum), "ANY 1 (__patroni_strict_sync_replica_placeholder__)"),
        ] {
            assert_eq!(value.to_string(), text);
            assert_eq!(parsed(text), value, "{text} reads as what was written");
        }
    }

    #[test]
    fn indispensable_is_who_every_commit_waits_for() {
        for (text, who) in [
            ("a", vec!["a"]),
            ("2 (a,b)", vec!["a", "b"]),
            ("1 (a,b)", vec![]),
            ("ANY 1 (a)", vec!["a"]),
            ("*", vec![]),
            (PLACEHOLDER, vec![]),
        ] {
            assert_eq!(parsed(text).indispensable(), names(&who), "{text}");
        }
        let members = [MemberName::from("Node-1")];
        assert_eq!(parsed("\"node-1\"").spelled_like(members.iter()).names, names(&["Node-1"]));
    }
}
