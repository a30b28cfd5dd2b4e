//! `synchronous_standby_names` as PostgreSQL reads it (syncrep_scanner.l, syncrep_gram.y), and whom it makes
//! synchronous (syncrep.c).
//!
//! A reading of its own, beside the core's: what the core writes has to mean to PostgreSQL what the core thinks.

/// Which of the standbys named have to confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The first so many in the order of the names.
    First,
    /// Any so many.
    Any,
}

/// A value that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncNames {
    pub method: Method,
    pub number: usize,
    /// As written, `*` among them.
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    Number(String),
    First,
    Any,
    Open,
    Close,
    Comma,
}

impl SyncNames {
    /// `Ok(None)`: nobody is synchronous. `Err`: PostgreSQL refuses the value and keeps what it had.
    pub fn parse(text: &str) -> Result<Option<SyncNames>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let refused =
            |why: String| format!("invalid value for parameter \"synchronous_standby_names\": \"{text}\": {why}");
        parse(&scan(text).map_err(refused)?).map(Some).map_err(refused)
    }

    /// The place of a standby in the list, from 1; with `ANY` all have 1. 0: it is not named.
    pub fn priority(&self, application_name: &str) -> usize {
        let named = |name: &String| name == "*" || name.eq_ignore_ascii_case(application_name);
        match (self.names.iter().position(named), self.method) {
            (None, _) => 0,
            (Some(place), Method::First) => place + 1,
            (Some(_), Method::Any) => 1,
        }
    }

    /// The synchronous ones of the candidates (named, streaming, have confirmed something), given by their priority in
    /// the order of their walsenders.
    pub fn synchronous(&self, candidates: &[usize]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        if self.method == Method::First && candidates.len() > self.number {
            order.sort_by_key(|place| candidates[*place]);
            order.truncate(self.number);
        }
        (0..candidates.len()).map(|place| order.contains(&place)).collect()
    }

    /// Up to where commits are confirmed, from what each candidate has confirmed. `None`: too few are there.
    pub fn confirmed<T: Copy + Ord>(&self, candidates: &[(usize, T)]) -> Option<T> {
        let priorities: Vec<usize> = candidates.iter().map(|(priority, _)| *priority).collect();
        let chosen = self.synchronous(&priorities);
        let mut positions: Vec<T> =
            candidates.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|((_, at), _)| *at).collect();
        if positions.len() < self.number {
            return None;
        }
        positions.sort_by(|a, b| b.cmp(a));
        match self.method {
            Method::First => positions.last().copied(),
            Method::Any => positions.get(self.number - 1).copied(),
        }
    }
}

fn scan(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' | '\t' | '\n' | '\r' | '\u{c}' => (None, 1),
            '(' => (Some(Token::Open), 1),
            ')' => (Some(Token::Close), 1),
            ',' => (Some(Token::Comma), 1),
            '*' => (Some(Token::Name("*".to_owned())), 1),
            '"' => {
                let (name, length) = quoted(rest)?;
                (Some(Token::Name(name)), length)
            }
            '0'..='9' => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                (Some(Token::Number(rest[..length].to_owned())), length)
            }
            c if starts_name(c) => {
                let length = rest.find(|c| !continues_name(c)).unwrap_or(rest.len());
                (Some(word(&rest[..length])), length)
            }
            other => return Err(format!("syntax error at or near \"{other}\"")),
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_name(c: char) -> bool {
    starts_name(c) || c.is_ascii_digit() || c == '$'
}

fn word(text: &str) -> Token {
    match text {
        _ if text.eq_ignore_ascii_case("any") => Token::Any,
        _ if text.eq_ignore_ascii_case("first") => Token::First,
        _ => Token::Name(text.to_owned()),
    }
}

/// A name in double quotes at the beginning of `text`, and how much of it that is.
fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        let doubled = c == '"' && chars.next_if(|(_, next)| *next == '"').is_some();
        if c == '"' && !doubled {
            return Ok((name, at + 1));
        }
        name.push(c);
    }
    Err("unterminated quoted identifier".to_owned())
}

fn parse(tokens: &[Token]) -> Result<SyncNames, String> {
    let (method, number, list) = match tokens {
        [Token::Any, Token::Number(n), Token::Open, list @ .., Token::Close] => (Method::Any, n.as_str(), list),
        [Token::First, Token::Number(n), Token::Open, list @ .., Token::Close] => (Method::First, n.as_str(), list),
        [Token::Number(n), Token::Open, list @ .., Token::Close] => (Method::First, n.as_str(), list),
        list => (Method::First, "1", list),
    };
    // As atoi does: what does not fit is cut.
    let number = number.parse::<i64>().unwrap_or(i64::MAX) as i32;
    let names = names(list)?;
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(SyncNames { method, number, names }),
        Ok(_) | Err(_) => Err(format!("number of synchronous standbys ({number}) must be greater than zero")),
    }
}

fn names(tokens: &[Token]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        match (place % 2, token) {
            (0, Token::Name(name) | Token::Number(name)) => names.push(name.clone()),
            (1, Token::Comma) => {}
            (_, other) => return Err(format!("syntax error at or near {other:?}")),
        }
    }
    if tokens.len().is_multiple_of(2) {
        return Err("syntax error at end of input".to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Method, usize, Vec<String>)> {
        SyncNames::parse(text).expect(text).map(|s| (s.method, s.number, s.names))
    }

    #[test]
    fn values_that_postgresql_takes() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (text, method, number, expected) in [
            ("*", Method::First, 1, &["*"][..]),
            ("a,b", Method::First, 1, &["a", "b"]),
            ("2 (a,b)", Method::First, 2, &["a", "b"]),
            ("FIRST 2 (a, \"b-2\")", Method::First, 2, &["a", "b-2"]),
            ("any 1(a,b)", Method::Any, 1, &["a", "b"]),
            ("ANY 1 (*)", Method::Any, 1, &["*"]),
            ("\"a\"\"b\",C$1", Method::First, 1, &["a\"b", "C$1"]),
            ("\"any\"", Method::First, 1, &["any"]),
            ("1", Method::First, 1, &["1"]),
            ("1, 2", Method::First, 1, &["1", "2"]),
            ("3(1,x)", Method::First, 3, &["1", "x"]),
        ] {
            assert_eq!(read(text), Some((method, number, names(expected))), "{text}");
        }
        assert_eq!(read(""), None);
    }

    #[test]
    fn values_that_postgresql_refuses() {
        for text in [
            " ",
            "a,",
            ",a",
            "a b",
            "a-b",
            "any",
            "any 1",
            "2 (a",
            "2 ()",
            "0 (a)",
            "ANY 0 (a)",
            "\"a",
            "1 (a),b",
            "2147483648 (a)",
            "\"\"\"",
            "a;b",
            "(a)",
        ] {
            assert!(SyncNames::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_synchronous_and_what_is_confirmed() {
        let first = SyncNames::parse("2 (a,b,c)").expect("good").expect("names");
        assert_eq!(["A", "c", "d"].map(|n| first.priority(n)), [1, 3, 0]);
        assert_eq!(first.synchronous(&[3, 1, 2]), [false, true, true]);
        assert_eq!(first.confirmed(&[(3, 90), (1, 50), (2, 70)]), Some(50), "the slower of the two first");
        assert_eq!(first.confirmed(&[(1, 50)]), None, "one is not two");
        let any = SyncNames::parse("ANY 2 (a,b,c)").expect("good").expect("names");
        assert_eq!(["A", "c", "d"].map(|n| any.priority(n)), [1, 1, 0]);
        assert_eq!(any.confirmed(&[(1, 90), (1, 50), (1, 70)]), Some(70), "the second fastest");
        let one = SyncNames::parse("*").expect("good").expect("names");
        assert_eq!(one.synchronous(&[1, 1]), [true, false], "the first walsender of two with the same priority");
    }
}
