//! The store's watch as events.

use jogi_core::ha::Event;
use jogi_dcs::WatchEvent;
use tokio::sync::mpsc;

use crate::runtime::Input;

/// Passes views and losses on for as long as the watch lives, which is as long as the agent.
pub(crate) async fn follow(mut watch: mpsc::Receiver<WatchEvent>, inbox: mpsc::Sender<Input>) {
    while let Some(news) = watch.recv().await {
        let event = match news {
            // A watch says what one server of the store has seen; what must be exact is read on purpose.
            WatchEvent::View(view) => Event::View { cluster: view.cluster, read_at: view.read_at, linearizable: false },
            WatchEvent::Lost(cause) => Event::StoreLost(cause),
        };
        if inbox.send(Input::Event(event)).await.is_err() {
            return;
        }
    }
    let _ = inbox.send(Input::Lost("the store's watch")).await;
}
