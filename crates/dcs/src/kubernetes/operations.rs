//! The trait, put together.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jogi_core::view::{Expect, Revision, Session, Write, Written};
use jogi_net::boot_now;
use tokio::sync::mpsc;

use super::objects::Part;
use super::{Kubernetes, watch};
use crate::{Acquired, Beat, Dcs, DcsError, Freshness, SetupError, View, WatchEvent};

/// Observers count whole seconds, and Patroni's annotation names them so.
const SMALLEST_TTL: Duration = Duration::from_secs(2);

#[async_trait]
impl Dcs for Kubernetes {
    fn smallest_ttl(&self) -> Duration {
        SMALLEST_TTL
    }

    fn describe(&self) -> String {
        let options = &self.shared.options;
        format!("Kubernetes at {}, {} of namespace {}", options.access.server, self.shared.kind(), options.namespace)
    }

    fn sibling(&self) -> Result<Arc<dyn Dcs>, SetupError> {
        Ok(Arc::new(Kubernetes::on(self.shared.clone())?))
    }

    async fn load(&self, freshness: Freshness, deadline: Duration) -> Result<View, DcsError> {
        Ok(self.read_all(freshness, deadline).await?.0)
    }

    fn watch(self: Arc<Self>) -> mpsc::Receiver<WatchEvent> {
        watch::start((*self).clone())
    }

    /// Kubernetes knows of no sessions; that it answers is asked all the same.
    async fn open_session(&self, ttl: Duration, deadline: Duration) -> Result<Session, DcsError> {
        self.read_part(Part::Leader, deadline).await?;
        Ok(self.shared.sessions.open(ttl.max(SMALLEST_TTL), boot_now()))
    }

    async fn beat(&self, session: &Session, read_leader: bool, deadline: Duration) -> Result<Beat, DcsError> {
        self.renew(session, read_leader, deadline).await
    }

    async fn close_session(&self, session: &Session, deadline: Duration) -> Result<(), DcsError> {
        self.end(session, deadline).await
    }

    async fn acquire(&self, session: &Session, expect: &Expect, deadline: Duration) -> Result<Acquired, DcsError> {
        self.take_lock(session, expect, deadline).await
    }

    async fn reattach(&self, session: &Session, created: &Revision, deadline: Duration) -> Result<Acquired, DcsError> {
        self.move_lock(session, created, deadline).await
    }

    async fn release(&self, created: &Revision, status: Option<&str>, deadline: Duration) -> Result<bool, DcsError> {
        self.give_up(created, status, deadline).await
    }

    async fn write(&self, write: &Write, deadline: Duration) -> Result<Written, DcsError> {
        self.write_key(write, deadline).await
    }

    async fn remove_cluster(&self, deadline: Duration) -> Result<(), DcsError> {
        self.remove(deadline).await
    }
}
