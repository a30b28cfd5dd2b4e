//! The newest view, for ever, by blocking queries: each returns all keys below the prefix at once.
//!
//! A query that nothing answers looks the same as one at rest, so it ends after [`WAIT`] on either side. When
//! another request failed meanwhile, one read decides whether the server still answers.

use std::sync::Arc;
use std::time::Duration;

use jogi_net::{Backoff, boot_now, random_u64};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Consul;
use crate::outbox::Outbox;
use crate::{Freshness, View, WatchEvent};

/// The reading that begins or repairs a watch.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long Consul may keep a query in which nothing happens: as long as a turn of Patroni's with its defaults.
const WAIT: Duration = Duration::from_secs(10);
/// Consul adds up to a sixteenth of the time, and the answer needs its own.
const ANSWER_WITHIN: Duration = Duration::from_secs(13);
/// A server under suspicion must answer one read in this time.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// Pauses between attempts to watch.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A watch that lived this long was a good one.
const LIVED: Duration = Duration::from_secs(5);

pub(super) fn start(consul: Arc<Consul>) -> mpsc::Receiver<WatchEvent> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(run(consul, Outbox::new(sender)));
    receiver
}

async fn run(consul: Arc<Consul>, mut out: Outbox) {
    let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
    loop {
        let began = Instant::now();
        let Err(why) = follow(&consul, &mut out).await else { return };
        out.lost(why);
        if began.elapsed() >= LIVED {
            pause.reset();
        }
        tokio::select! {
            () = sleep(pause.next(random_u64())) => {}
            () = out.pump() => return,
        }
    }
}

/// `Ok`: the receiver is gone.
async fn follow(consul: &Arc<Consul>, out: &mut Outbox) -> Result<(), String> {
    let mut doubt = consul.shared.doubt.subscribe();
    let read = tokio::select! {
        read = consul.read_all(Freshness::Linearizable, READ_WITHIN) => read,
        () = out.pump() => return Ok(()),
    };
    let (view, mut index) = read.map_err(|error| error.to_string())?;
    out.view(view);
    loop {
        let query = tokio::select! {
            query = timeout(ANSWER_WITHIN, blocking_query(consul, index)) => query,
            why = refuted(consul, &mut doubt) => return Err(why),
            () = out.pump() => return Ok(()),
        };
        let (cluster, newest) =
            query.map_err(|_| format!("no answer to a watch within {} s", ANSWER_WITHIN.as_secs()))??;
        // An index that goes back means that Consul's history was lost or restored: all is read anew.
        index = if newest < index { 0 } else { newest.max(1) };
        out.view(View { cluster, read_at: boot_now() });
    }
}

async fn blocking_query(consul: &Consul, index: u64) -> Result<(Arc<jogi_core::view::Cluster>, u64), String> {
    let ask = consul.read_request(&format!("&index={index}&wait={}s", WAIT.as_secs()));
    let host = consul.shared.hosts.order().first().cloned().ok_or("no server is configured")?;
    let reply = consul.rest.attempt(&host, &ask).await.map_err(|failure| format!("{}: {failure}", host.url))?;
    consul.cluster(&reply)
}

/// Ends, with the reason, when a request failed and then a reading did, too.
async fn refuted(consul: &Consul, doubt: &mut tokio::sync::watch::Receiver<u64>) -> String {
    loop {
        if doubt.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Err(error) = consul.read_all(Freshness::Linearizable, CHECK_WITHIN).await {
            return error.to_string();
        }
        // Failing reads ring, too.
        doubt.borrow_and_update();
    }
}
