//! One request, several servers, one deadline.
//!
//! A try that is slow is not given up, it is overtaken: after its share of the time the next server is
//! asked beside it, and the first answer counts. So a dead or hanging server costs one share, once (it goes
//! to the end of the order), and a store that is merely slow still has the whole deadline to answer.
//!
//! An answer is *doubtful* when another try of the same call may have been applied, too: a transaction
//! that fails on its condition may then have failed on its own first try. What that means is decided where
//! the operation is known (`txn`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jogi_net::{Backoff, random_u64};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::hosts::{Host, Hosts};

/// The least and the most that a try has before the next server is asked beside it.
const SHARE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Tries of one call under way at the same time.
const MAX_FLYING: usize = 3;
/// The pause after all servers have failed at once.
const ALL_FAILED: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// What the engine has to know of a try that failed.
pub(crate) trait Failing: std::fmt::Debug + Send {
    /// Another try, most likely elsewhere, may be answered.
    fn worth_another_try(&self) -> bool;
    /// The request may have been carried out although we know of no answer.
    fn perhaps_applied(&self) -> bool;
}

/// An answer and how it came about.
pub(crate) struct Answer<T> {
    pub value: T,
    pub host: Arc<Host>,
    /// Another try of this call may have been applied, too.
    pub doubtful: bool,
}

/// No answer.
pub(crate) struct Lost<F> {
    /// `None`: silence.
    pub failure: Option<F>,
    pub endpoint: String,
    pub waited: Duration,
    /// A try of this call may have been applied.
    pub doubtful: bool,
}

/// A try under way.
struct Try {
    number: usize,
    host: Arc<Host>,
    began: Instant,
}

/// Asks until one server answers, a server refuses, or the deadline has passed. `ring` is called when a server failed.
pub(crate) async fn race<T, F, Fut>(
    hosts: &Hosts,
    ring: &(dyn Fn() + Sync),
    deadline: Duration,
    attempt: impl Fn(Arc<Host>) -> Fut,
) -> Result<Answer<T>, Lost<F>>
where
    F: Failing,
    Fut: Future<Output = Result<T, F>>,
{
    let order = hosts.order();
    let share = share(deadline, order.len());
    let max_flying = order.len().clamp(2, MAX_FLYING);
    let started = Instant::now();
    let end = started + deadline;
    let mut pause = Backoff::new(ALL_FAILED.0, ALL_FAILED.1);
    let mut next_try = started;
    let mut tried = 0;
    let mut flying = FuturesUnordered::new();
    let mut in_flight: Vec<Try> = Vec::new();
    let mut doubtful = false;
    let mut last_failure = None;
    loop {
        let wake = if in_flight.len() < max_flying { next_try.min(end) } else { end };
        tokio::select! {
            biased;
            Some((number, host, result)) = flying.next(), if !flying.is_empty() => {
                in_flight.retain(|t| t.number != number);
                let failure: F = match settle(hosts, ring, &host, result) {
                    Ok(value) => {
                        overtaken(hosts, ring, &in_flight, &host);
                        return Ok(Answer { value, host, doubtful: doubtful || !in_flight.is_empty() });
                    }
                    Err(failure) => failure,
                };
                debug!(host = %host.url, ?failure, "a try failed");
                if !failure.worth_another_try() {
                    let doubtful = doubtful || !in_flight.is_empty();
                    let endpoint = host.url.clone();
                    return Err(Lost { failure: Some(failure), endpoint, waited: started.elapsed(), doubtful });
                }
                doubtful |= failure.perhaps_applied();
                last_failure = Some((failure, host));
                let all_failed = tried % order.len() == 0;
                next_try = if all_failed { Instant::now() + pause.next(random_u64()) } else { Instant::now() };
            }
            () = sleep_until(wake) => {
                if Instant::now() >= end {
                    in_flight.sort_by_key(|t| t.began);
                    let silent = in_flight.partition_point(|t| t.began + share <= end);
                    let doubtful = doubtful || !in_flight.is_empty();
                    let (failure, endpoint) = out_of_time(hosts, ring, &in_flight[..silent], last_failure);
                    return Err(Lost { failure, endpoint, waited: started.elapsed(), doubtful });
                }
                let host = order[tried % order.len()].clone();
                in_flight.push(Try { number: tried, host: host.clone(), began: Instant::now() });
                let (number, result) = (tried, attempt(host.clone()));
                flying.push(async move { (number, host, result.await) });
                tried += 1;
                next_try = Instant::now() + share;
            }
        }
    }
}

/// Notes what a try says about its server.
fn settle<T, F: Failing>(
    hosts: &Hosts,
    ring: &(dyn Fn() + Sync),
    host: &Arc<Host>,
    result: Result<T, F>,
) -> Result<T, F> {
    match &result {
        Err(failure) if failure.worth_another_try() => {
            hosts.failed(host);
            ring();
        }
        Ok(_) | Err(_) => hosts.answered(host),
    }
    result
}

/// Tries still under way when another server had answered: their servers are suspect.
fn overtaken(hosts: &Hosts, ring: &(dyn Fn() + Sync), in_flight: &[Try], by: &Arc<Host>) {
    for other in in_flight.iter().filter(|t| !Arc::ptr_eq(&t.host, by)) {
        hosts.failed(&other.host);
        ring();
    }
}

/// The deadline has passed. `silent`: tries that had their share of it and no answer. One begun just
/// before the end says nothing of its server; what an earlier try was told then says more.
fn out_of_time<F>(
    hosts: &Hosts,
    ring: &(dyn Fn() + Sync),
    silent: &[Try],
    last_failure: Option<(F, Arc<Host>)>,
) -> (Option<F>, String) {
    for one in silent {
        hosts.failed(&one.host);
    }
    ring();
    match (silent, last_failure) {
        ([], Some((failure, host))) => (Some(failure), host.url.clone()),
        (silent, _) => {
            let mut urls: Vec<&str> = silent.iter().map(|t| t.host.url.as_str()).collect();
            urls.dedup();
            (None, if urls.is_empty() { hosts.describe() } else { urls.join(", ") })
        }
    }
}

/// What a try has for itself: an equal part of the time for each server and one for a second chance.
fn share(deadline: Duration, hosts: usize) -> Duration {
    let parts = u32::try_from(hosts).unwrap_or(u32::MAX).saturating_add(1);
    (deadline / parts).clamp(SHARE.0, SHARE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_has_its_share_and_never_less_than_it_needs() {
        let ms = Duration::from_millis;
        for (deadline, hosts, expected) in [(400, 3, 100), (400, 1, 200), (200, 5, 100), (10_000, 3, 1000)] {
            assert_eq!(share(ms(deadline), hosts), ms(expected));
        }
    }
}
