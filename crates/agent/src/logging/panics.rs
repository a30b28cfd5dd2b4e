//! What a panic does: it is logged without touching standard error, and where the decision loop or the
//! keeper panics the process ends at once.
//!
//! A process that ends is the safe case: the lease runs out and the guard closes the server. A process that
//! goes on without its loop, or hangs while it writes the panic's message to a blocked terminal, is not.
//! A panic elsewhere (one REST request, one effect) ends that piece of work only.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::record::{Level, Record};
use super::{EXIT_LOG_BROKEN, Logging};

thread_local! {
    static VITAL: Cell<bool> = const { Cell::new(false) };
}

/// Exit code after a panic (Rust's own).
const EXIT_PANICKED: i32 = 101;

/// How long the message of a panic may take to reach the log.
const LAST_MESSAGE: Duration = Duration::from_millis(200);

/// Installs the hook for the whole process.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("panic without a message");
        let vital = VITAL.get();
        let end = if vital { "; the agent ends" } else { "" };
        let Some(logging) = Logging::current() else { return };
        let message = format!("internal error{place}: {what}{end}. Please report it with the lines before this one");
        logging.put(Record::message(Level::Critical, message));
        if vital {
            logging.flush_within(LAST_MESSAGE);
            exit_now(EXIT_PANICKED);
        }
    }));
}

/// Ends the process without running destructors, which could wait for stuck work.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` only ends the process; nothing of it runs on.
    unsafe { libc::_exit(code) }
}

/// Writes out the last lines and ends the process. With a log that cannot be written any more the code is
/// Patroni's for that.
pub fn finish(code: i32) -> ! {
    let flushed = Logging::current().is_none_or(Logging::flush);
    exit_now(if flushed || code != 0 { code } else { EXIT_LOG_BROKEN })
}

/// Marks a future (the decision loop, the keeper) whose panic ends the process.
pub struct Vital<F>(Pin<Box<F>>);

impl<F: Future> Vital<F> {
    pub fn new(future: F) -> Vital<F> {
        Vital(Box::pin(future))
    }
}

impl<F: Future> Future for Vital<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = VITAL.replace(true);
        let polled = self.0.as_mut().poll(context);
        VITAL.set(before);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::super::tests::settings;
    use super::*;

    const INNER: &str = "JOGI_TEST_PANIC";

    /// Runs the named test of this file again, as a process of its own that may end.
    fn as_a_process(test: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        let name = format!("logging::panics::tests::{test}");
        command.args(["--exact", &name, "--nocapture"]).env(INNER, "1");
        command.output().expect("it runs")
    }

    fn begin() -> tokio::runtime::Runtime {
        install();
        Logging::start(&settings("INFO", &[])).expect("a log");
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn a_panic_in_the_loop_ends_the_process() {
        if std::env::var_os(INNER).is_some() {
            begin().block_on(Vital::new(async { panic!("the loop is broken") }));
            return;
        }
        let output = as_a_process("a_panic_in_the_loop_ends_the_process");
        assert_eq!(output.status.code(), Some(EXIT_PANICKED));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the loop is broken; the agent ends"), "{said}");
    }

    #[test]
    fn a_panic_in_a_task_ends_the_task_alone() {
        if std::env::var_os(INNER).is_some() {
            let ended = begin()
                .block_on(Vital::new(async { tokio::spawn(async { panic!("one request is broken") }).await.is_err() }));
            Logging::current().map(Logging::flush);
            exit_now(if ended { 42 } else { 1 });
        }
        let output = as_a_process("a_panic_in_a_task_ends_the_task_alone");
        assert_eq!(output.status.code(), Some(42));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("one request is broken. Please report"), "{said}");
    }
}
