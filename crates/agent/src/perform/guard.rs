//! The handle on the guard: attached to at the start, begun anew when it is gone.
//!
//! A new guard is started by the next effect that needs one, never by itself: what is left of the old one's
//! server has to be fenced first, and that is the core's to ask for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jogi_core::ha::Failure;
use jogi_pg::guard::{Client, CommandError, Event, Page, StartAs, Status};
use jogi_pg::rundir::RunDir;
use tokio::sync::{Mutex as Turn, broadcast, mpsc, watch};

/// How long a guard that lives may take to greet. A new one also has to be started within it.
const GREETING: Duration = Duration::from_secs(5);
/// How long a guard may take to say what it knows.
const REPORT: Duration = Duration::from_secs(2);
/// How long it may take to take charge of a postmaster that was found.
const ADOPT: Duration = Duration::from_secs(2);
/// Events that a promotion under way may not have read yet; more than this many mean that it looks for itself.
const UNREAD: usize = 64;

pub(crate) struct GuardOptions {
    pub rundir: Arc<RunDir>,
    /// This very program, which is the guard when called so.
    pub exe: PathBuf,
}

/// What a new connection to a guard brings: its state, and its events.
pub(crate) struct Attached {
    pub status: Status,
    pub events: mpsc::Receiver<Event>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    options: GuardOptions,
    client: Turn<Option<Client>>,
    child: Mutex<Child>,
    page: watch::Sender<Option<Page>>,
    events: broadcast::Sender<Event>,
    attached: mpsc::Sender<Attached>,
}

/// The postmaster as far as the guard has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Child {
    /// The postmaster that the guard started or took over.
    pub pid: Option<u32>,
    pub adopted: bool,
}

impl Guard {
    /// `attached` hears of every new connection; see [`crate::gather::guard`].
    pub(crate) fn new(options: GuardOptions, attached: mpsc::Sender<Attached>) -> Guard {
        let shared = Shared {
            options,
            client: Turn::new(None),
            child: Mutex::default(),
            page: watch::Sender::new(None),
            events: broadcast::Sender::new(UNREAD),
            attached,
        };
        Guard { shared: Arc::new(shared) }
    }

    /// The page of the guard of now, for the keeper.
    pub(crate) fn page(&self) -> watch::Receiver<Option<Page>> {
        self.shared.page.subscribe()
    }

    /// The guard; attaches to one, or starts one, when there is none.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let mut client = self.shared.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let options = &self.shared.options;
        let (attached, events) = Client::attach_or_spawn(&options.rundir, &options.exe, GREETING)
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let status = attached.status(REPORT).await.map_err(|error| Failure::Failed(error.to_string()))?;
        tracing::debug!(pid = attached.guard().pid, version = attached.version(), "attached to the guard");
        self.set_child(Child {
            pid: status.postmaster.and_then(|id| u32::try_from(id.pid).ok()),
            adopted: status.adopted,
        });
        self.shared.page.send_replace(Some(attached.page()));
        *client = Some(attached.clone());
        // The receiver is read as long as the agent lives.
        let _ = self.shared.attached.send(Attached { status, events }).await;
        Ok(attached)
    }

    /// The guard, if there is one; starts none, and waits for none that is being started.
    pub(crate) fn present(&self) -> Option<Client> {
        self.shared.client.try_lock().ok()?.clone()
    }

    /// Puts a postmaster that the guard did not start into its charge.
    pub(super) async fn adopt(&self, client: &Client, pid: u32, role: StartAs) -> Result<(), CommandError> {
        client.adopt(i32::try_from(pid).unwrap_or(0), role, ADOPT).await?;
        self.set_child(Child { pid: Some(pid), adopted: true });
        Ok(())
    }

    /// The connection has ended.
    pub(crate) async fn gone(&self) {
        *self.shared.client.lock().await = None;
        self.set_child(Child::default());
        self.shared.page.send_replace(None);
    }

    /// Passes an event on to whoever waits for one.
    pub(crate) fn heard(&self, event: &Event) {
        if matches!(event, Event::Exited(_)) {
            self.set_child(Child::default());
        }
        // Nobody waits: fine.
        let _ = self.shared.events.send(event.clone());
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    pub(super) fn child(&self) -> Child {
        *self.shared.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_child(&self, child: Child) {
        *self.shared.child.lock().unwrap_or_else(PoisonError::into_inner) = child;
    }
}
