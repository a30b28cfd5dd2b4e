//! The keeper's news as events.

use jogi_core::ha::{Event, Lease};
use tokio::sync::{mpsc, watch};

use crate::runtime::Input;

/// Passes the keeper's news on for as long as it lives. Without a keeper nothing can be led: the agent ends.
pub(crate) async fn follow(mut leases: watch::Receiver<Lease>, inbox: mpsc::Sender<Input>) {
    while leases.changed().await.is_ok() {
        let lease = leases.borrow_and_update().clone();
        if inbox.send(Input::Event(Event::Lease(lease))).await.is_err() {
            return;
        }
    }
    let _ = inbox.send(Input::Lost("the lease keeper")).await;
}
