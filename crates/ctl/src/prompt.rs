//! Questions on the terminal, worded and answered as patronictl's.
//!
//! Questions go to stdout also when it is no terminal, answers are lines of stdin; the end of the input aborts.

use std::io::{IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::output::say;

/// A text. An empty answer is the default; without a default the question is asked again.
pub async fn ask(question: &str, default: Option<&str>) -> Result<String, Failure> {
    let hint = default.map(|text| format!(" [{text}]")).unwrap_or_default();
    loop {
        let answer = answer_to(&format!("{question}{hint}: ")).await?;
        match (answer.is_empty(), default) {
            (false, _) => return Ok(answer),
            (true, Some(default)) => return Ok(default.to_owned()),
            (true, None) => {}
        }
    }
}

/// A whole number.
pub async fn ask_number(question: &str) -> Result<i64, Failure> {
    loop {
        let answer = ask(question, None).await?;
        match answer.trim().parse() {
            Ok(number) => return Ok(number),
            Err(_) => say(format_args!("Error: '{answer}' is not a valid integer."))?,
        }
    }
}

/// Yes or no; no is the default.
pub async fn confirm(question: &str) -> Result<bool, Failure> {
    loop {
        match answer_to(&format!("{question} [y/N]: ")).await?.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => return Ok(false),
            _ => say("Error: invalid input")?,
        }
    }
}

/// A password, not shown while it is typed.
pub async fn ask_hidden(question: &str) -> Result<String, Failure> {
    let echo = Echo::off();
    loop {
        let answer = answer_to(&format!("{question}: ")).await;
        if echo.is_some() {
            say("")?;
        }
        let answer = answer?;
        if !answer.is_empty() {
            return Ok(answer);
        }
    }
}

async fn answer_to(question: &str) -> Result<String, Failure> {
    let mut out = std::io::stdout();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|read| (read > 0).then_some(line))
    });
    match line.await {
        Ok(Ok(Some(line))) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
        Ok(Ok(None) | Err(_)) | Err(_) => Err(Failure::Aborted),
    }
}

/// The terminal without echo until this is dropped.
struct Echo {
    before: rustix::termios::Termios,
}

impl Echo {
    /// `None` where stdin is no terminal.
    fn off() -> Option<Echo> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &silent).ok()?;
        Some(Echo { before })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
