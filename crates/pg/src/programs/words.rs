//! Splitting a command by the rules of a POSIX shell, without a shell (as Python's `shlex.split`).
//!
//! Nothing is expanded and nothing is a comment: a command from the configuration can name arguments and
//! nothing else.

use std::iter::Peekable;
use std::str::Chars;

/// A command that has no words in it, or no end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    #[error("the command is empty")]
    Empty,
    #[error("a quotation is not closed in the command")]
    OpenQuote,
    #[error("nothing follows the last backslash of the command")]
    OpenEscape,
}

/// The words of a command; at least one.
pub fn split_words(command: &str) -> Result<Vec<String>, WordsError> {
    let mut chars = command.chars().peekable();
    let mut words = Vec::new();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        if chars.peek().is_none() {
            break;
        }
        words.push(word(&mut chars)?);
    }
    match words.is_empty() {
        true => Err(WordsError::Empty),
        false => Ok(words),
    }
}

fn word(chars: &mut Peekable<Chars<'_>>) -> Result<String, WordsError> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_ascii_whitespace()) {
        match c {
            '\'' => single_quoted(chars, &mut word)?,
            '"' => double_quoted(chars, &mut word)?,
            '\\' => word.push(chars.next().ok_or(WordsError::OpenEscape)?),
            plain => word.push(plain),
        }
    }
    Ok(word)
}

fn single_quoted(chars: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), WordsError> {
    loop {
        match chars.next().ok_or(WordsError::OpenQuote)? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

/// Between double quotes a backslash escapes a double quote or a backslash and is itself before anything else.
fn double_quoted(chars: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), WordsError> {
    loop {
        match chars.next().ok_or(WordsError::OpenQuote)? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(WordsError::OpenQuote)? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_shlex() {
        for (command, words) in [
            ("a b  c", &["a", "b", "c"][..]),
            ("/x/y 'one word' \"two $words\"", &["/x/y", "one word", "two $words"]),
            (r#"a\ b "c\"d\e" '\x'"#, &["a b", r#"c"d\e"#, r"\x"]),
            ("a ''", &["a", ""]),
            ("x # y; z | w", &["x", "#", "y;", "z", "|", "w"]),
        ] {
            assert_eq!(split_words(command).expect(command), words);
        }
        assert_eq!(split_words("  "), Err(WordsError::Empty));
        assert_eq!(split_words("a 'b"), Err(WordsError::OpenQuote));
        assert_eq!(split_words("a \\"), Err(WordsError::OpenEscape));
    }
}
