//! What changed in a configuration: a unified diff, through a pager with colours on a terminal.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use similar::{Algorithm, TextDiff};

use crate::failure::Failure;
use crate::output::say;

const CONTEXT_LINES: usize = 3;

/// Shows the difference of two texts. Blocks while a pager runs.
pub fn show(before: &str, after: &str) -> Result<(), Failure> {
    let diff = unified(before, after);
    if diff.is_empty() {
        return Ok(());
    }
    match std::io::stdout().is_terminal() {
        true => page(&coloured(&diff)),
        false => say(diff),
    }
}

/// Python's `difflib.unified_diff` of files without names, without the last line break.
fn unified(before: &str, after: &str) -> String {
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).diff_lines(before, after);
    let mut unified = diff.unified_diff();
    unified.context_radius(CONTEXT_LINES).missing_newline_hint(false).header("", "");
    unified.to_string().trim_end_matches('\n').to_owned()
}

fn coloured(diff: &str) -> String {
    let colour = |line: &str| match line.as_bytes().first() {
        Some(b'@') => "36",
        _ if line.starts_with("--- ") || line.starts_with("+++ ") => "1",
        Some(b'+') => "32",
        Some(b'-') => "31",
        Some(_) | None => "0",
    };
    diff.lines().map(|line| format!("\x1b[{}m{line}\x1b[0m\n", colour(line))).collect()
}

fn page(text: &str) -> Result<(), Failure> {
    let pager = pager().ok_or_else(|| {
        Failure::said("No pager could be found. Either set PAGER environment variable with your pager or install either \"less\" or \"more\" in the host.")
    })?;
    let mut command = Command::new(&pager);
    if pager.file_name().is_some_and(|name| name == "less") {
        command.arg("-FRSX");
    }
    let failed = |error: std::io::Error| Failure::said(format!("the pager {} failed: {error}", pager.display()));
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
    }
    child.wait().map_err(failed).map(drop)
}

/// PAGER, `less`, `more`: the first that there is.
fn pager() -> Option<PathBuf> {
    let candidates = [std::env::var_os("PAGER"), Some("less".into()), Some("more".into())];
    candidates.into_iter().flatten().find_map(program)
}

/// The program of that name, on the path unless the name says where.
pub fn program(name: OsString) -> Option<PathBuf> {
    let path = Path::new(&name);
    if name.is_empty() {
        return None;
    }
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_owned());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(path)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_printed_as_python_does() {
        let before = "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nttl: 30\n";
        let after = "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nttl: 20\n";
        assert_eq!(unified(before, after), "--- \n+++ \n@@ -3,4 +3,4 @@\n c: 3\n d: 4\n e: 5\n-ttl: 30\n+ttl: 20");
        assert_eq!(unified("a\n", "a\n"), "");
        assert_eq!(unified("", "a\n"), "--- \n+++ \n@@ -0,0 +1 @@\n+a");
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(program("sh".into()).is_some_and(|path| path.is_absolute()));
        assert_eq!(program("no such program".into()), None);
        assert_eq!(program("".into()), None);
        assert_eq!(program("/bin/sh".into()), Some("/bin/sh".into()));
    }
}
