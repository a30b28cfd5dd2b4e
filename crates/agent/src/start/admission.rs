//! Taking part: what an agent does only once the store has answered and nobody else has its name.
//!
//! Until then the loop runs without a view: it looks after its own server, starts and promotes nothing, and everything
//! that it asks of the store goes unanswered. A member of the same name must be refused before the first word to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Release};

use jogi_config::Local;
use jogi_core::ha::Event;
use jogi_dcs::{Dcs, View};
use tokio::sync::mpsc;

use super::{adoptable, store};
use crate::gather;
use crate::keeper::KeeperHandle;
use crate::notify;
use crate::perform::Guard;
use crate::rest;
use crate::runtime::{Exit, Input};

/// What becomes of the store's first answer.
pub(super) struct Admission {
    pub local: Arc<Local>,
    pub rest: rest::Options,
    pub dcs: Arc<dyn Dcs>,
    pub guard: Guard,
    pub keeper: KeeperHandle,
    pub inbox: mpsc::Sender<Input>,
    /// Set once what the loop asks of the store is passed on.
    pub admitted: Arc<AtomicBool>,
}

impl Admission {
    /// Opens the REST API and the way to the store.
    pub async fn enter(self, view: View) -> anyhow::Result<()> {
        let Admission { rest, dcs, inbox, admitted, .. } = self;
        rest::serve(rest).await?;
        admitted.store(true, Release);
        let first = Event::View { cluster: view.cluster, read_at: view.read_at, linearizable: true };
        // It has room: the loop empties it, or has put nothing into it yet.
        let _ = inbox.try_send(Input::Event(first));
        tokio::spawn(gather::store::follow(dcs.watch(), inbox));
        notify::ready();
        Ok(())
    }

    /// Waits for the store as long as it takes; what makes no sense to go on with ends the agent.
    pub async fn wait(self) {
        let inbox = self.inbox.clone();
        if let Err(refusal) = self.late().await {
            let exit = Exit { code: 1, why: refusal.to_string() };
            // The loop has ended: nobody is left to tell.
            let _ = inbox.send(Input::Refused(exit)).await;
        }
    }

    async fn late(self) -> anyhow::Result<()> {
        let view = store::first_view(&*self.dcs).await?;
        store::refuse_twin(&self.local, &view.cluster).await?;
        if let Some(adopted) = adoptable(&self.guard, &view, &self.local.name)
            && let Err(failure) = self.keeper.adopt(adopted).await
        {
            tracing::warn!("the lock of an earlier agent was not taken over: {failure}");
        }
        self.enter(view).await
    }
}
