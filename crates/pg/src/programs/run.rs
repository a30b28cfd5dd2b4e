//! Running one program: in its own process group, with a deadline, to be cancelled at any time.
//!
//! The hazard: a program that changes the data directory and goes on after we have given it up. So it ends
//! when we say so: first SIGTERM and then SIGKILL to its whole group, and [`run`] returns only after it has
//! been reaped. A dropped future kills the group as well.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How much of the end of a program's output is kept.
const OUTPUT_KEPT: usize = 16 << 10;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);
/// How long to wait for the last output of a program that has ended; what it started may hold the pipe open.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// Tells a program to end. Dropping it without [`Canceller::cancel`] cancels nothing.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

/// Hears that a program is to end.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

/// A canceller and its ear.
pub fn cancel_pair() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// One that is never heard.
    pub fn never() -> Cancel {
        cancel_pair().1
    }

    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the request, for ever when none comes.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What to run. Secrets belong into files or `stdin`, never into `args`.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<OsString>,
    /// Added to (or with `None` removed from) the cleaned environment.
    pub env: Vec<(String, Option<OsString>)>,
    pub dir: Option<PathBuf>,
    pub stdin: Option<Vec<u8>>,
}

impl Program {
    pub fn new(path: impl Into<PathBuf>) -> Program {
        Program { path: path.into(), ..Program::default() }
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Program {
        self.args.push(arg.into());
        self
    }

    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Program {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Program {
        self.env.push((name.to_owned(), Some(value.into())));
        self
    }

    /// In the data directory: whoever fences that finds the program too.
    pub fn inside(mut self, data_dir: &Path) -> Program {
        self.dir = Some(data_dir.to_owned());
        self
    }

    /// As messages name it: the last part of its path.
    fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// What the C library calls ENOSPC. Programs are run with its messages untranslated.
const DISK_IS_FULL: &str = "No space left on device";

/// How a program ended, and the last part of what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{program} could not be started: {cause}")]
    NotStarted { program: String, cause: String },
    #[error("{program} ended with {status}{}", printed(output))]
    Failed { program: String, status: ExitStatus, output: String },
    #[error("{program} did not end within {within:?} and was killed{}", printed(output))]
    TimedOut { program: String, within: Duration, output: String },
    #[error("{program} was cancelled")]
    Cancelled { program: String },
    /// It could not even be tried.
    #[error("{0}")]
    Prepare(String),
}

impl From<ProgramError> for jogi_core::ha::Failure {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::Cancelled { .. } => jogi_core::ha::Failure::Cancelled,
            ProgramError::NotStarted { .. }
            | ProgramError::Failed { .. }
            | ProgramError::TimedOut { .. }
            | ProgramError::Prepare(_) => jogi_core::ha::Failure::Failed(error.to_string()),
        }
    }
}

fn printed(output: &str) -> String {
    let mut text = String::new();
    if !output.trim().is_empty() {
        let _ = write!(text, "; it printed: {}", output.trim());
    }
    if output.contains(DISK_IS_FULL) {
        text.push_str("\n(a disk is full: make room on it)");
    }
    text
}

/// Runs it to its end, or kills its whole process group when the time is over or when cancelled. Returns
/// only after the program has been reaped.
pub async fn run(program: &Program, within: Duration, cancel: &mut Cancel) -> Result<Ended, ProgramError> {
    let name = program.name();
    if cancel.is_requested() {
        return Err(ProgramError::Cancelled { program: name });
    }
    let not_started = |e: std::io::Error| ProgramError::NotStarted {
        program: program.path.display().to_string(),
        cause: e.to_string(),
    };
    let mut child = command(program).spawn().map_err(not_started)?;
    let group = Group::of(&child);
    let output = Output::follow(&mut child, program.stdin.clone());
    tracing::debug!(program = %name, pid = child.id(), "started");
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = cancel.requested() => None,
        () = tokio::time::sleep(within) => None,
    };
    let status = match ended {
        Some(status) => status.map_err(not_started)?,
        None => {
            group.end(&mut child).await;
            group.reaped();
            let output = output.last().await;
            return Err(match cancel.is_requested() {
                true => ProgramError::Cancelled { program: name },
                false => ProgramError::TimedOut { program: name, within, output },
            });
        }
    };
    group.reaped();
    Ok(Ended { status, output: output.last().await })
}

/// As [`run`], and anything but a zero exit status is an error.
pub async fn succeed(program: &Program, within: Duration, cancel: &mut Cancel) -> Result<String, ProgramError> {
    let Ended { status, output } = run(program, within, cancel).await?;
    match status.success() {
        true => Ok(output),
        false => Err(ProgramError::Failed { program: program.name(), status, output }),
    }
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.path);
    command.args(&program.args).env_clear().envs(crate::process::clean_environment());
    for (name, value) in &program.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(dir) = &program.dir {
        command.current_dir(dir);
    }
    command.stdin(if program.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// The process group of a program, killed when this is dropped before the program has been reaped.
struct Group {
    id: Option<Pid>,
    reaped: AtomicBool,
}

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Group { id, reaped: AtomicBool::new(false) }
    }

    fn reaped(&self) {
        self.reaped.store(true, Ordering::Relaxed);
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id.filter(|_| !self.reaped.load(Ordering::Relaxed)) {
            // A group that is gone needs no signal.
            let _ = kill_process_group(id, signal);
        }
    }

    /// SIGTERM, then SIGKILL to whatever of the group is left.
    async fn end(&self, child: &mut Child) {
        self.signal(Signal::TERM);
        let _ = timeout(GRACE, child.wait()).await;
        self.signal(Signal::KILL);
        let _ = child.wait().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Reads what a program prints, and keeps the end of it.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    readers: JoinSet<()>,
}

impl Output {
    fn follow(child: &mut Child, input: Option<Vec<u8>>) -> Output {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(keep(stdout, Arc::clone(&kept)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(keep(stderr, Arc::clone(&kept)));
        }
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            readers.spawn(async move {
                // A program that does not read it has its reasons; how it ends is what counts.
                let _ = stdin.write_all(&input).await;
            });
        }
        Output { kept, readers }
    }

    async fn last(mut self) -> String {
        let all = async { while self.readers.join_next().await.is_some() {} };
        let _ = timeout(LAST_OUTPUT, all).await;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

async fn keep(mut from: impl AsyncRead + Unpin, into: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(OUTPUT_KEPT);
        kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn the_end_and_the_last_output_are_told() {
        let long = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo last >&2; exit 3";
        let ended = run(&shell(long), Duration::from_secs(30), &mut Cancel::never()).await.expect("it ran");
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.output.contains("last") && ended.output.len() <= OUTPUT_KEPT);
        let error = succeed(&shell("echo no room; exit 1"), Duration::from_secs(30), &mut Cancel::never()).await;
        let text = error.expect_err("it failed").to_string();
        assert_eq!(text, "sh ended with exit status: 1; it printed: no room");
        let full = shell("echo 'could not write: No space left on device'; exit 1");
        let error = succeed(&full, Duration::from_secs(30), &mut Cancel::never()).await.expect_err("it failed");
        assert!(error.to_string().ends_with("(a disk is full: make room on it)"), "{error}");
    }

    #[tokio::test]
    async fn a_program_past_its_time_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let script = format!("trap '' TERM; sleep 600 & echo $! > {}; wait; wait; sleep 600", file.display());
        let error = run(&shell(&script), Duration::from_millis(300), &mut Cancel::never()).await.expect_err("late");
        assert!(matches!(error, ProgramError::TimedOut { .. }), "{error}");
        let pid: i32 = std::fs::read_to_string(&file).expect("written").trim().parse().expect("a number");
        let deadline = Instant::now() + Duration::from_secs(10);
        while crate::pidfd::stat(pid).is_ok_and(|stat| stat.state != b'Z') {
            assert!(Instant::now() < deadline, "the grandchild lives on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_cancelled_program_ends_and_is_reaped() {
        let (canceller, mut cancel) = cancel_pair();
        let program = shell("sleep 600");
        let running = run(&program, Duration::from_secs(600), &mut cancel);
        canceller.cancel();
        assert!(matches!(running.await, Err(ProgramError::Cancelled { .. })));
    }

    #[tokio::test]
    async fn input_is_handed_over_and_a_missing_program_is_named() {
        let program = Program { stdin: Some(b"secret".to_vec()), ..shell("cat | wc -c") };
        let output = succeed(&program, Duration::from_secs(30), &mut Cancel::never()).await.expect("it ran");
        assert_eq!(output.trim(), "6");
        let error = run(&Program::new("/nonexistent/tool"), Duration::from_secs(1), &mut Cancel::never()).await;
        assert!(error.expect_err("not there").to_string().starts_with("/nonexistent/tool could not be started"));
    }
}
