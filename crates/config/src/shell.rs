//! Commands of the configuration, split by shell rules and never run by a shell.

/// Why a command cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("the command ends inside {0} quotes")]
    OpenQuote(&'static str),
    #[error("the command ends with a backslash")]
    OpenEscape,
}

/// Splits a command into words as Python's `shlex.split`: quotes, backslashes; no variables, no globs.
pub fn split(command: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next().ok_or(SplitError::OpenEscape)?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    loop {
        match chars.next().ok_or(SplitError::OpenQuote("single"))? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

/// A backslash escapes quotes and itself only; before anything else it stays.
fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    loop {
        match chars.next().ok_or(SplitError::OpenQuote("double"))? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(SplitError::OpenEscape)? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

/// Takes one pair of quotes off a fully quoted text; anything else stays as it is.
pub fn unquote(text: &str) -> String {
    match split(text).as_deref() {
        Ok([word]) => word.clone(),
        Ok(_) | Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_shlex_does() {
        for (command, words) in [
            ("cp %p /a/%f", vec!["cp", "%p", "/a/%f"]),
            (r#"sh -c 'echo "a b"' x\ y "q\"z\n""#, vec!["sh", "-c", "echo \"a b\"", "x y", "q\"z\\n"]),
            ("  a''b  ''  ", vec!["ab", ""]),
            ("", vec![]),
            ("a#b # c", vec!["a#b", "#", "c"]),
        ] {
            assert_eq!(split(command), Ok(words.into_iter().map(str::to_owned).collect()), "{command}");
        }
        assert_eq!(split("a 'b"), Err(SplitError::OpenQuote("single")));
        assert_eq!(split("a\\"), Err(SplitError::OpenEscape));
    }

    #[test]
    fn quotes_come_off_once() {
        for (text, bare) in [
            ("\"a quoted string\"", "a quoted string"),
            ("\"a multi\" \"quoted string\"", "\"a multi\" \"quoted string\""),
            ("unbalanced \"quoted string", "unbalanced \"quoted string"),
            ("bar baz", "bar baz"),
        ] {
            assert_eq!(unquote(text), bare);
        }
    }
}
