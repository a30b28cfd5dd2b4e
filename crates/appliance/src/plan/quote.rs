//! Words of commands that arrive as they are, whatever is in them.

/// One word in quotes, for a shell and for `shlex.split` alike.
pub(crate) fn quoted(text: &str) -> String {
    match text.contains(['"', '\\', '$', '`', '!']) {
        false => format!("\"{text}\""),
        true => format!("'{}'", text.replace('\'', "'\"'\"'")),
    }
}

/// One word, in quotes only where it needs them.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// For PostgreSQL's `archive_command` and `restore_command`, where `%` means something.
pub(crate) fn in_command(text: &str) -> String {
    quoted(text).replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use jogi_config::shell::split;

    use super::*;

    #[test]
    fn words_come_back_out_of_a_split() {
        for text in ["plain", "a b", "it's", "a\"b", "$HOME `x` \\", "", "'\"'"] {
            assert_eq!(split(&quoted(text)).expect("a command"), [text], "{}", quoted(text));
            assert_eq!(split(&word(text)).expect("a command"), [text], "{}", word(text));
        }
    }
}
