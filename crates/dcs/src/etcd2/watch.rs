//! The newest view, for ever: a long poll tells that something changed, a reading tells what.
//!
//! A poll ends after [`WAIT`], and then all is read anew: a server that hangs is found out so, and whatever a poll
//! missed (etcd keeps a thousand events) is made good.

use std::sync::Arc;
use std::time::Duration;

use jogi_net::{Backoff, random_u64};
use reqwest::Method;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Etcd2;
use crate::outbox::Outbox;
use crate::{Freshness, WatchEvent};

const READ_WITHIN: Duration = Duration::from_secs(5);
/// As long as a turn of Patroni's with its defaults.
const WAIT: Duration = Duration::from_secs(10);
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A watch that lived this long was a good one.
const LIVED: Duration = Duration::from_secs(5);

pub(super) fn start(etcd: Arc<Etcd2>) -> mpsc::Receiver<WatchEvent> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(run(etcd, Outbox::new(sender)));
    receiver
}

async fn run(etcd: Arc<Etcd2>, mut out: Outbox) {
    let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
    loop {
        let began = Instant::now();
        let Err(why) = follow(&etcd, &mut out).await else { return };
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
async fn follow(etcd: &Arc<Etcd2>, out: &mut Outbox) -> Result<(), String> {
    let mut doubt = etcd.shared.doubt.subscribe();
    loop {
        let read = tokio::select! {
            read = etcd.read_all(Freshness::Linearizable, READ_WITHIN) => read,
            () = out.pump() => return Ok(()),
        };
        let (view, index) = read.map_err(|error| error.to_string())?;
        out.view(view);
        // What failed until now has been answered by this reading.
        doubt.borrow_and_update();
        tokio::select! {
            polled = timeout(WAIT, poll(etcd, index + 1)) => if let Ok(polled) = polled { polled? },
            _ = doubt.changed() => {}
            () = out.pump() => return Ok(()),
        }
    }
}

/// Ends when something below the base path changed from `index` on, or etcd does not remember that far.
async fn poll(etcd: &Etcd2, index: u64) -> Result<(), String> {
    let query = format!("?wait=true&recursive=true&waitIndex={index}");
    let ask = etcd.ask("watch the cluster", Method::GET, "", &query, String::new(), &[200, 400]);
    let host = etcd.shared.hosts.order().first().cloned().ok_or("no server is configured")?;
    let polled = etcd.rest.attempt(&host, &ask).await;
    polled.map(|_| ()).map_err(|failure| format!("{}: {failure}", host.url))
}
