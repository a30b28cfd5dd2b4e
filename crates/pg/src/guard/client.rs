//! The agent's side of the guard: commands with deadlines, and what the guard reports on its own account.
//!
//! [`Client::attach_or_spawn`] finds the guard of a run directory or starts one. The guard and its postmaster are
//! the same before and after a restart of the agent: [`Client::status`] says what runs, and [`Client::page`] what
//! lease it runs under.
//!
//! One task owns the socket. It ends when the guard closes the connection or dies, which fails every open command
//! and is the last event: [`Event::Died`] or [`Event::Lost`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jogi_core::Tick;
use rustix::process::{Pid, PidfdFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::page::{Acted, Page};
use super::socket;
use super::wire::{Kind, MAX_MESSAGE, Message, Reason, Role, Stop, Tag, Writer};
use crate::pidfd::ProcessId;

/// How many unread events there may be. The guard reports a handful per life of a postmaster.
const EVENTS: usize = 256;

/// A handle on the guard; cheap to clone. The connection ends with the last one.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    socket: Arc<AsyncFd<OwnedFd>>,
    page: Page,
    guard: ProcessId,
    version: String,
    protocol: u16,
    pending: Arc<Pending>,
    next_id: AtomicU32,
    driver: tokio::task::AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Answers that are waited for, by request.
type Waiting = BTreeMap<u32, oneshot::Sender<Result<Answer, CommandError>>>;

/// `None` once the connection has ended.
type Pending = Mutex<Option<Waiting>>;

/// How to start a server. `program` and `args` as in `process::StartSpec`.
#[derive(Debug)]
pub struct Start {
    pub program: PathBuf,
    /// Without the program's own name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where the server's stdout and stderr go: a file or a terminal, never a pipe that the agent reads.
    pub log: OwnedFd,
    pub start_as: StartAs,
}

/// As what a server is started or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAs {
    /// With a recovery signal file, which the guard checks.
    Standby,
    /// Writable under this generation of the lock: the page must be armed, show it, and `soft` be to come.
    Primary { generation: u64 },
    /// Writable without a lease: the bootstrap of a cluster that is not yet published, or pause.
    Unleased,
}

/// What the guard knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The postmaster, if one runs or has not been reaped.
    pub postmaster: Option<ProcessId>,
    /// `None`: no server.
    pub role: Option<StartAs>,
    /// The postmaster is not the guard's child: its death with the guard is not covered until its next start.
    pub adopted: bool,
    pub armed: bool,
    /// A deadline or a kill command has been acted on, and the server has not gone yet.
    pub ending: bool,
    /// A promotion is under way.
    pub promoting: bool,
    /// What the guard last did on its own account, and when.
    pub acted: Acted,
    pub acted_at: Tick,
    /// How the last postmaster ended.
    pub last_exit: Option<Exit>,
    /// Bytes of the guard that are locked into memory; less than it uses when the limit for locked memory is low.
    pub locked_bytes: u64,
}

/// How a postmaster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub pid: i32,
    pub how: ExitStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// The program could not be executed.
    NotExecuted {
        errno: i32,
    },
    /// Not the guard's child, so the system does not say.
    Unknown,
}

/// What the guard reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The postmaster has ended. Processes of it may remain until `Fenced`.
    Exited(Exit),
    /// Nothing is left that could write to the data directory.
    Fenced,
    /// Recovery has ended: the server is writable.
    Promoted { generation: u64 },
    /// The promotion could not be asked for; the server is still a standby.
    PromoteFailed { errno: i32 },
    /// A deadline has passed and the guard has acted.
    Acted { what: Acted, at: Tick },
    /// The guard has died, and the postmaster that it started was sent SIGQUIT by the kernel. Fence the data directory.
    Died,
    /// The connection has ended though the guard may live: attach again.
    Lost { cause: String },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the guard refused to {command}: {refused}")]
    Refused { command: &'static str, refused: Refused },
    #[error("the guard did not answer to {command} within {} ms", .waited.as_millis())]
    Timeout { command: &'static str, waited: Duration },
    #[error("the connection to the guard ended before it answered to {command}")]
    Disconnected { command: &'static str },
    #[error("cannot send {command} to the guard: {cause}")]
    Send { command: &'static str, cause: String },
}

/// Why the guard refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it does not know this command (it is older than the agent; it is replaced when the server next stops)")]
    Unknown,
    #[error("a server runs already (pid {pid})")]
    AlreadyRunning { pid: u64 },
    #[error("no server runs")]
    NotRunning,
    #[error("it is not armed, so nothing would end the server when the lock is lost")]
    NotArmed,
    #[error("the lock's generation is {held}, not {asked}")]
    WrongGeneration { held: u64, asked: u64 },
    #[error("the lease has run out (soft deadline {} ns after boot)", .soft.0)]
    Expired { soft: Tick },
    #[error("{left} processes of a former server are still there")]
    NotFenced { left: u64 },
    #[error("the data directory has no standby.signal, recovery.signal or recovery.conf: it would start as primary")]
    NotAStandby,
    #[error("the process does not run in this data directory")]
    NotItsServer,
    #[error("it could not read the command")]
    Malformed,
    #[error("the system: {0}")]
    System(String),
    #[error("the server is being ended")]
    Ending,
    #[error("the server is a primary already")]
    AlreadyPrimary,
}

#[derive(Debug)]
enum Answer {
    Done { pid: Option<ProcessId> },
    Status(Box<Status>),
}

impl Client {
    /// Takes over a connection whose greeting has been read. Must be called within a tokio runtime.
    pub(super) fn new(connection: socket::Connection) -> io::Result<(Client, mpsc::Receiver<Event>)> {
        // SAFETY: an OwnedFd names the same open file until it is dropped, which AsyncFd does after deregistering it.
        let socket = Arc::new(unsafe { AsyncFd::register(connection.socket)? });
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let (events, receiver) = mpsc::channel(EVENTS);
        let driver = Driver {
            socket: Arc::clone(&socket),
            pending: Arc::clone(&pending),
            death: watch_death(connection.guard)?,
            guard: connection.guard,
            events,
        };
        let driver = tokio::spawn(driver.run()).abort_handle();
        let shared = Shared {
            socket,
            page: connection.page,
            guard: connection.guard,
            version: connection.version,
            protocol: connection.protocol,
            pending,
            next_id: AtomicU32::new(1),
            driver,
        };
        Ok((Client { shared: Arc::new(shared) }, receiver))
    }

    /// The page shared with this guard.
    pub fn page(&self) -> Page {
        self.shared.page.clone()
    }

    /// The guard itself.
    pub fn guard(&self) -> ProcessId {
        self.shared.guard
    }

    /// The version of the program that the guard runs; an older one than ours goes on until its server stops.
    pub fn version(&self) -> &str {
        &self.shared.version
    }

    /// The protocol that the guard speaks. Commands that came later than it are answered with [`Refused::Unknown`].
    pub fn protocol(&self) -> u16 {
        self.shared.protocol
    }

    /// Starts a server; answers with its postmaster. That it could not be executed comes as [`Event::Exited`].
    pub async fn start(&self, start: Start, deadline: Duration) -> Result<ProcessId, CommandError> {
        let mut message = Vec::new();
        let id = self.next_id();
        let mut writer = Writer::begin(&mut message, Kind::Start, id);
        writer = start_as_fields(writer, start.start_as);
        writer = writer.bytes(Tag::Program, &terminated(start.program.as_os_str().as_bytes()));
        writer = writer.bytes(Tag::Argument, &terminated(start.program.as_os_str().as_bytes()));
        for argument in &start.args {
            writer = writer.bytes(Tag::Argument, &terminated(argument.as_bytes()));
        }
        for (name, value) in &start.env {
            let mut pair = name.as_bytes().to_vec();
            pair.push(b'=');
            pair.extend_from_slice(value.as_bytes());
            writer = writer.bytes(Tag::Environment, &terminated(&pair));
        }
        let _ = writer;
        let answer = self.ask("start PostgreSQL", id, &message, Some(&start.log), deadline).await?;
        match answer {
            Answer::Done { pid: Some(pid) } => Ok(pid),
            Answer::Done { pid: None } | Answer::Status(_) => {
                Err(CommandError::Refused { command: "start PostgreSQL", refused: Refused::Malformed })
            }
        }
    }

    /// Promotes the standby under `generation`: the page must be armed and show it, and `soft` be to come. Answered when
    /// the promotion has been asked for; its end is [`Event::Promoted`].
    pub async fn promote(&self, generation: u64, deadline: Duration) -> Result<(), CommandError> {
        self.command("promote", Kind::Promote, deadline, |w| w.number(Tag::Generation, generation)).await
    }

    /// Sends the postmaster the signal for `stop`; [`Stop::KillAll`] goes on until [`Event::Fenced`].
    pub async fn stop(&self, stop: Stop, deadline: Duration) -> Result<(), CommandError> {
        self.command("stop PostgreSQL", Kind::Signal, deadline, |w| w.number(Tag::Signal, stop.code())).await
    }

    /// Puts a running writable server under `generation`: after a bootstrap, after a pause.
    pub async fn hold(&self, generation: u64, deadline: Duration) -> Result<(), CommandError> {
        self.command("hold the primary", Kind::Hold, deadline, |w| w.number(Tag::Generation, generation)).await
    }

    /// The running server is a standby: no deadline concerns it.
    pub async fn demoted(&self, deadline: Duration) -> Result<(), CommandError> {
        self.command("note the demotion", Kind::Demoted, deadline, |w| w).await
    }

    /// Takes charge of a postmaster that the guard did not start.
    pub async fn adopt(&self, pid: i32, role: StartAs, deadline: Duration) -> Result<(), CommandError> {
        let pid = u64::try_from(pid).unwrap_or(0);
        self.command("adopt PostgreSQL", Kind::Adopt, deadline, |w| start_as_fields(w, role).number(Tag::Pid, pid))
            .await
    }

    /// What the guard knows now.
    pub async fn status(&self, deadline: Duration) -> Result<Status, CommandError> {
        let mut message = Vec::new();
        let id = self.next_id();
        Writer::begin(&mut message, Kind::Status, id);
        match self.ask("report", id, &message, None, deadline).await? {
            Answer::Status(status) => Ok(*status),
            Answer::Done { .. } => Err(CommandError::Refused { command: "report", refused: Refused::Malformed }),
        }
    }

    /// Ends the guard; refused while a server runs.
    pub async fn quit(&self, deadline: Duration) -> Result<(), CommandError> {
        self.command("quit", Kind::Quit, deadline, |w| w).await
    }

    async fn command<F>(
        &self,
        command: &'static str,
        kind: Kind,
        deadline: Duration,
        fields: F,
    ) -> Result<(), CommandError>
    where
        F: FnOnce(Writer<'_, Vec<u8>>) -> Writer<'_, Vec<u8>>,
    {
        let mut message = Vec::new();
        let id = self.next_id();
        let _ = fields(Writer::begin(&mut message, kind, id));
        self.ask(command, id, &message, None, deadline).await.map(drop)
    }

    fn next_id(&self) -> u32 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn ask(
        &self,
        command: &'static str,
        id: u32,
        message: &[u8],
        log: Option<&OwnedFd>,
        deadline: Duration,
    ) -> Result<Answer, CommandError> {
        if message.len() > MAX_MESSAGE {
            let cause =
                format!("arguments and environment are {} bytes, at most {MAX_MESSAGE} can be sent", message.len());
            return Err(CommandError::Send { command, cause });
        }
        let (sender, receiver) = oneshot::channel();
        match lock(&self.shared.pending).as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(CommandError::Disconnected { command }),
        };
        let answered = tokio::time::timeout(deadline, async {
            self.send(message, log).await.map_err(|error| CommandError::Send { command, cause: error.to_string() })?;
            receiver.await.unwrap_or(Err(CommandError::Disconnected { command }))
        })
        .await;
        if let Some(pending) = lock(&self.shared.pending).as_mut() {
            pending.remove(&id);
        }
        match answered {
            Ok(Err(CommandError::Refused { refused, .. })) => Err(CommandError::Refused { command, refused }),
            Ok(answer) => answer,
            Err(_) => Err(CommandError::Timeout { command, waited: deadline }),
        }
    }

    async fn send(&self, message: &[u8], log: Option<&OwnedFd>) -> io::Result<()> {
        loop {
            let mut ready = self.shared.socket.writable().await?;
            let sent = ready.try_io(|socket| socket::send(socket.get_ref().as_fd(), message, log.map(AsFd::as_fd)));
            if let Ok(sent) = sent {
                return sent;
            }
        }
    }
}

fn start_as_fields(writer: Writer<'_, Vec<u8>>, role: StartAs) -> Writer<'_, Vec<u8>> {
    match role {
        StartAs::Standby => writer.number(Tag::StartAs, Role::Standby.code()),
        StartAs::Primary { generation } => {
            writer.number(Tag::StartAs, Role::Primary.code()).number(Tag::Generation, generation)
        }
        StartAs::Unleased => writer.number(Tag::StartAs, Role::Unleased.code()),
    }
}

fn terminated(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.push(0);
    bytes
}

fn lock(pending: &Pending) -> std::sync::MutexGuard<'_, Option<Waiting>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None` where the kernel gives no pidfd: then the end of the connection is all there is.
fn watch_death(guard: ProcessId) -> io::Result<Option<AsyncFd<OwnedFd>>> {
    let Some(pid) = Pid::from_raw(guard.pid) else { return Ok(None) };
    let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    // SAFETY: as for the socket.
    Ok(Some(unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)? }))
}

struct Driver {
    socket: Arc<AsyncFd<OwnedFd>>,
    pending: Arc<Pending>,
    death: Option<AsyncFd<OwnedFd>>,
    guard: ProcessId,
    events: mpsc::Sender<Event>,
}

impl Driver {
    async fn run(self) {
        let mut buffer = vec![0; 8192];
        let cause = loop {
            tokio::select! {
                biased;
                received = receive(&self.socket, &mut buffer) => match received {
                    Ok(0) => break "the guard closed the connection".to_owned(),
                    Ok(length) => match self.take(&buffer[..length]) {
                        Ok(()) => {}
                        Err(cause) => break cause,
                    },
                    Err(error) => break error.to_string(),
                },
                () = died(self.death.as_ref()) => break "the guard died".to_owned(),
            }
        };
        // Dropping the senders tells every open command that it will not be answered.
        lock(&self.pending).take();
        let last = if self.guard_lives().await { Event::Lost { cause } } else { Event::Died };
        let _ = self.events.send(last).await;
    }

    /// A closed connection of a dying guard may be seen before its death: the kernel closes files first.
    async fn guard_lives(&self) -> bool {
        let Some(death) = &self.death else {
            return crate::pidfd::stat(self.guard.pid)
                .is_ok_and(|stat| stat.started == self.guard.started && stat.state != b'Z');
        };
        tokio::time::timeout(Duration::from_millis(100), died(Some(death))).await.is_err()
    }

    fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let Some(message) = Message::parse(bytes) else {
            return Err("the guard sent something else than a message".to_owned());
        };
        match message.kind {
            Some(Kind::Done) => self.answer(message.id, Ok(Answer::Done { pid: process_id(&message) })),
            Some(Kind::StatusIs) => self.answer(message.id, Ok(Answer::Status(Box::new(status(&message))))),
            Some(Kind::Refused) => {
                self.answer(message.id, Err(CommandError::Refused { command: "", refused: refused(&message) }));
            }
            Some(kind) => {
                if let Some(event) = event(kind, &message) {
                    return self.events.try_send(event).map_err(|_| "nobody reads the guard's events".to_owned());
                }
            }
            None => tracing::debug!("the guard sent a message of a kind that this version does not know"),
        }
        Ok(())
    }

    fn answer(&self, id: u32, answer: Result<Answer, CommandError>) {
        if let Some(waiting) = lock(&self.pending).as_mut().and_then(|pending| pending.remove(&id)) {
            let _ = waiting.send(answer);
        }
    }
}

async fn receive(socket: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = socket.readable().await?;
        if let Ok(received) = ready.try_io(|socket| socket::receive(socket.get_ref().as_fd(), buffer)) {
            return received;
        }
    }
}

async fn died(death: Option<&AsyncFd<OwnedFd>>) {
    match death {
        Some(death) => drop(death.readable().await),
        None => std::future::pending().await,
    }
}

fn process_id(message: &Message<'_>) -> Option<ProcessId> {
    Some(ProcessId { pid: message.pid(Tag::Pid)?, started: message.number_or_0(Tag::Started) })
}

fn status(message: &Message<'_>) -> Status {
    Status {
        postmaster: process_id(message),
        role: message.number(Tag::Server).and_then(Role::from_code).map(|role| match role {
            Role::Standby => StartAs::Standby,
            Role::Primary => StartAs::Primary { generation: message.number_or_0(Tag::Generation) },
            Role::Unleased => StartAs::Unleased,
        }),
        adopted: message.number_or_0(Tag::Adopted) != 0,
        armed: message.number_or_0(Tag::Armed) != 0,
        ending: message.number_or_0(Tag::Ending) != 0,
        promoting: message.number_or_0(Tag::Promoting) != 0,
        acted: acted(message),
        acted_at: Tick(message.number_or_0(Tag::ActedAt)),
        last_exit: message.number(Tag::Left).map(|pid| exit(message, pid)),
        locked_bytes: message.number_or_0(Tag::LockedBytes),
    }
}

fn acted(message: &Message<'_>) -> Acted {
    Acted::from_code(u32::try_from(message.number_or_0(Tag::Acted)).unwrap_or(0))
}

fn exit(message: &Message<'_>, pid: u64) -> Exit {
    let number = |tag| message.number(tag).and_then(|number| i32::try_from(number).ok());
    let how = if let Some(errno) = number(Tag::ExecErrno) {
        ExitStatus::NotExecuted { errno }
    } else if let Some(signal) = number(Tag::ExitSignal) {
        ExitStatus::Signal(signal)
    } else if let Some(code) = number(Tag::ExitCode) {
        ExitStatus::Code(code)
    } else {
        ExitStatus::Unknown
    };
    Exit { pid: i32::try_from(pid).unwrap_or(0), how }
}

fn event(kind: Kind, message: &Message<'_>) -> Option<Event> {
    match kind {
        Kind::Exited => Some(Event::Exited(exit(message, message.number_or_0(Tag::Left)))),
        Kind::Fenced => Some(Event::Fenced),
        Kind::Promoted => Some(Event::Promoted { generation: message.number_or_0(Tag::Generation) }),
        Kind::PromoteFailed => {
            Some(Event::PromoteFailed { errno: i32::try_from(message.number_or_0(Tag::Detail)).unwrap_or(0) })
        }
        Kind::Acted => Some(Event::Acted { what: acted(message), at: Tick(message.number_or_0(Tag::ActedAt)) }),
        Kind::Start
        | Kind::Promote
        | Kind::Signal
        | Kind::Demoted
        | Kind::Adopt
        | Kind::Status
        | Kind::Quit
        | Kind::Hold
        | Kind::Done
        | Kind::Refused
        | Kind::StatusIs
        | Kind::Hello => None,
    }
}

fn refused(message: &Message<'_>) -> Refused {
    let (detail, other) = (message.number_or_0(Tag::Detail), message.number_or_0(Tag::Detail2));
    match message.number(Tag::Reason).and_then(Reason::from_code) {
        Some(Reason::Unknown) | None => Refused::Unknown,
        Some(Reason::AlreadyRunning) => Refused::AlreadyRunning { pid: detail },
        Some(Reason::NotRunning) => Refused::NotRunning,
        Some(Reason::NotArmed) => Refused::NotArmed,
        Some(Reason::WrongGeneration) => Refused::WrongGeneration { held: detail, asked: other },
        Some(Reason::Expired) => Refused::Expired { soft: Tick(detail) },
        Some(Reason::NotFenced) => Refused::NotFenced { left: detail },
        Some(Reason::NotAStandby) => Refused::NotAStandby,
        Some(Reason::NotItsServer) => Refused::NotItsServer,
        Some(Reason::Malformed) => Refused::Malformed,
        Some(Reason::System) => {
            let errno = i32::try_from(detail).unwrap_or(0);
            Refused::System(io::Error::from_raw_os_error(errno).to_string())
        }
        Some(Reason::Ending) => Refused::Ending,
        Some(Reason::AlreadyPrimary) => Refused::AlreadyPrimary,
    }
}
