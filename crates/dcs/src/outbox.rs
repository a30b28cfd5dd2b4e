//! Between a watch and its receiver: the newest view, never a backlog.

use tokio::sync::mpsc;
use tracing::warn;

use crate::{View, WatchEvent};

/// What the receiver has not taken yet: never more than the newest view and whether the watch is down.
pub(crate) struct Outbox {
    sender: mpsc::Sender<WatchEvent>,
    view: Option<View>,
    lost: Option<String>,
    down: bool,
}

impl Outbox {
    pub(crate) fn new(sender: mpsc::Sender<WatchEvent>) -> Outbox {
        Outbox { sender, view: None, lost: None, down: false }
    }

    pub(crate) fn view(&mut self, view: View) {
        self.view = Some(view);
        self.lost = None;
        self.down = false;
    }

    pub(crate) fn lost(&mut self, why: String) {
        if !self.down {
            warn!(%why, "the watch of the store broke; building it again");
            self.lost = Some(why);
            self.down = true;
        }
    }

    /// Delivers what is due; ends when the receiver is gone. Cancelling loses nothing.
    pub(crate) async fn pump(&mut self) {
        while self.view.is_some() || self.lost.is_some() {
            let Ok(permit) = self.sender.reserve().await else { return };
            if let Some(view) = self.view.take() {
                permit.send(WatchEvent::View(view));
            } else if let Some(why) = self.lost.take() {
                permit.send(WatchEvent::Lost(why));
            }
        }
        self.sender.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jogi_net::boot_now;

    use super::*;

    fn view() -> View {
        View { cluster: Arc::default(), read_at: boot_now() }
    }

    fn kind(event: Option<WatchEvent>) -> &'static str {
        match event {
            Some(WatchEvent::View(_)) => "view",
            Some(WatchEvent::Lost(_)) => "lost",
            None => "end",
        }
    }

    #[tokio::test]
    async fn a_slow_receiver_gets_the_newest_state_and_no_backlog() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut out = Outbox::new(sender);
        for _ in 0..100 {
            out.view(view());
            out.lost("once".into());
            out.lost("twice".into());
        }
        tokio::spawn(async move { out.pump().await });
        assert_eq!(kind(receiver.recv().await), "view");
        assert_eq!(kind(receiver.recv().await), "lost");
        assert!(receiver.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_view_makes_an_outage_that_nobody_heard_of_moot() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut out = Outbox::new(sender);
        out.lost("gone".into());
        out.view(view());
        tokio::spawn(async move { out.pump().await });
        assert_eq!(kind(receiver.recv().await), "view");
        assert!(receiver.try_recv().is_err());
    }
}
