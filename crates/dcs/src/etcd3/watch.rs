//! The newest view, for ever.
//!
//! One linearizable read, then the gateway's `/watch` stream from the read's revision on. Anything that
//! breaks the stream (an error, the end of the connection, compaction, a server that lost its leader) leads to
//! the same place: read again, watch again, from whichever server answers.
//!
//! A stream that is silent is the normal case at rest, and looks the same as one whose server hangs. Asking
//! regularly would cost requests, so the watch asks only with a reason: another request to the same server failed
//! or was overtaken; an answer showed a change that the watch did not bring; or nobody has heard of the
//! server for [`QUIET`] (where a lease keeper beats, that never happens). Then one read decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jogi_core::Tick;
use jogi_net::{Backoff, boot_now, random_u64};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::Etcd3;
use super::call::{MAX_ANSWER, Request};
use super::failure::{Failure, quote};
use super::knowledge::{Point, Standing};
use super::wire::{MembersAnswer, WatchMessage, prefix_range};
use crate::hosts::Host;
use crate::outbox::Outbox;
use crate::{Freshness, View, WatchEvent};

/// The reading that begins or repairs a watch.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// From the watch's request to its confirmation, by a server that has just answered a reading.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// A server under suspicion must answer one read in this time.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// A change that was seen elsewhere must come through the watch in this time.
const LAG_ALLOWED: Duration = Duration::from_secs(1);
/// Without any answer from the watched server for this long, it is asked.
const QUIET: Duration = Duration::from_secs(30);
/// Between two readings of etcd's member list (Patroni: ten times the ttl).
const DISCOVER_EVERY: Duration = Duration::from_secs(300);
const DISCOVER_WITHIN: Duration = Duration::from_secs(5);
/// Pauses between attempts to watch.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A watch that lived this long was a good one: the next pause is the shortest again.
const LIVED: Duration = Duration::from_secs(5);

/// Starts the task on the current runtime.
pub(super) fn start(etcd: Etcd3) -> mpsc::Receiver<WatchEvent> {
    let (sender, receiver) = mpsc::channel(1);
    let doubt = etcd.shared.doubt.subscribe();
    let task = Watch { etcd, doubt, out: Outbox::new(sender), discovered: None };
    tokio::spawn(task.run());
    receiver
}

struct Watch {
    etcd: Etcd3,
    doubt: watch::Receiver<u64>,
    out: Outbox,
    discovered: Option<Tick>,
}

/// Why following ended.
enum Ended {
    /// The receiver is gone.
    Closed,
    Broken {
        why: String,
        blame: Option<Arc<Host>>,
    },
}

/// An open stream.
struct Stream {
    response: reqwest::Response,
    buffer: Vec<u8>,
    host: Arc<Host>,
    known: Point,
}

impl Watch {
    async fn run(mut self) {
        let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let began = boot_now();
            let (why, blame) = match self.follow().await {
                Ended::Closed => return,
                Ended::Broken { why, blame } => (why, blame),
            };
            if let Some(host) = blame {
                self.etcd.shared.hosts.failed(&host);
            }
            self.out.lost(why);
            if boot_now().since(began) >= LIVED {
                pause.reset();
            }
            tokio::select! {
                () = sleep(pause.next(random_u64())) => {}
                () = self.out.pump() => return,
            }
        }
    }

    async fn follow(&mut self) -> Ended {
        let etcd = self.etcd.clone();
        let read = tokio::select! {
            read = etcd.read_all(Freshness::Linearizable, READ_WITHIN) => read,
            () = self.out.pump() => return Ended::Closed,
        };
        let (view, answer) = match read {
            Ok(read) => read,
            Err(error) => return Ended::Broken { why: error.to_string(), blame: None },
        };
        self.out.view(view);
        self.discover();
        let host = answer.host;
        let opened = tokio::select! {
            opened = timeout(OPEN_WITHIN, etcd.open_watch(&host, answer.value.revision + 1)) => opened,
            () = self.out.pump() => return Ended::Closed,
        };
        match opened {
            Ok(Ok(stream)) => self.stream(stream).await,
            Ok(Err(failure)) => Ended::broken(&host, format!("cannot watch: {failure}")),
            Err(_) => Ended::broken(&host, format!("no answer to a watch within {} s", OPEN_WITHIN.as_secs())),
        }
    }

    /// Takes messages until the stream breaks or its server is found out.
    async fn stream(&mut self, mut stream: Stream) -> Ended {
        let host = stream.host.clone();
        let etcd = self.etcd.clone();
        let mut checks = FuturesUnordered::new();
        let mut lag_ends: Option<Instant> = None;
        loop {
            let suspicious = host.is_suspect() || quiet_left(&host).is_zero();
            if suspicious && checks.is_empty() {
                checks.push(timeout(CHECK_WITHIN, etcd.check(&host)));
            }
            lag_ends = match etcd.shared.knowledge.missing_change() {
                Some(_) => lag_ends.or_else(|| Some(Instant::now() + LAG_ALLOWED)),
                None => None,
            };
            tokio::select! {
                message = stream.next() => match message.and_then(|m| self.take(&stream, m)) {
                    Ok(()) => {}
                    Err(failure) => return Ended::broken(&host, failure.to_string()),
                },
                Some(checked) = checks.next(), if !checks.is_empty() => match checked {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => return Ended::broken(&host, format!("the watched server fails: {failure}")),
                    Err(_) => return Ended::broken(&host, "the watched server does not answer".into()),
                },
                () = until(lag_ends) => {
                    if let Some(revision) = etcd.shared.knowledge.missing_change() {
                        return Ended::broken(&host, format!("the watch has not brought revision {revision}"));
                    }
                }
                _ = self.doubt.changed() => {}
                () = sleep(quiet_left(&host)), if checks.is_empty() => {}
                () = self.out.pump() => return Ended::Closed,
            }
            self.discover();
        }
    }

    fn take(&mut self, stream: &Stream, message: WatchMessage) -> Result<(), Failure> {
        let knowledge = &self.etcd.shared.knowledge;
        knowledge.judge(stream.known, message.header, Standing::Forwarded, boot_now()).map_err(Failure::Stale)?;
        if message.compact_revision > 0 {
            return Err(Failure::Garbled(format!("compacted up to revision {}", message.compact_revision)));
        }
        if message.canceled {
            return Err(Failure::Broken(format!("etcd ended the watch: {}", message.cancel_reason)));
        }
        let cluster = match message.events.is_empty() {
            true if message.created => None,
            true => knowledge.progressed(message.header.revision),
            false => knowledge.apply(message.events),
        };
        if let Some(cluster) = cluster {
            self.out.view(View { cluster, read_at: boot_now() });
        }
        Ok(())
    }

    /// Reads etcd's member list from time to time, beside the watch.
    fn discover(&mut self) {
        let due = self.discovered.is_none_or(|at| boot_now().since(at) >= DISCOVER_EVERY);
        if !self.etcd.shared.options.discover || !due {
            return;
        }
        self.discovered = Some(boot_now());
        let etcd = self.etcd.clone();
        tokio::spawn(async move { etcd.discover().await });
    }
}

impl Ended {
    fn broken(host: &Arc<Host>, why: String) -> Ended {
        Ended::Broken { why: format!("{}: {why}", host.url), blame: Some(host.clone()) }
    }
}

fn quiet_left(host: &Host) -> Duration {
    QUIET.saturating_sub(boot_now().since(host.answered_at()))
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

impl Etcd3 {
    async fn open_watch(&self, host: &Arc<Host>, revision: i64) -> Result<Stream, Failure> {
        let known = self.shared.knowledge.newest();
        let mut create = prefix_range(self.shared.knowledge.prefix());
        create["start_revision"] = json!(revision.to_string());
        create["progress_notify"] = json!(true);
        let body = Bytes::from(json!({ "create_request": create }).to_string());
        let token = self.token(host).await?;
        let response = self.send(host, self.prefix(host), "/watch", &body, &token, true).await?;
        let status = response.status().as_u16();
        let mut stream = Stream { response, buffer: Vec::new(), host: host.clone(), known };
        if status != 200 {
            let failure = Failure::from_answer(status, &stream.rest().await);
            if failure.needs_login() {
                self.shared.login.refused(&token);
            }
            return Err(failure);
        }
        let first = stream.next().await?;
        self.shared.knowledge.judge(known, first.header, Standing::Local, boot_now()).map_err(Failure::Stale)?;
        if first.canceled {
            return Err(Failure::Broken(first.cancel_reason));
        }
        if !first.created {
            return Err(Failure::Garbled("a watch that begins without its confirmation".into()));
        }
        Ok(stream)
    }

    /// One linearizable read on just this server.
    async fn check(&self, host: &Arc<Host>) -> Result<(), Failure> {
        let kv = self.leader_key_on(host).await?;
        self.shared.hosts.answered(host);
        if let Some(kv) = kv {
            self.shared.knowledge.expect_change(kv.mod_revision);
        }
        Ok(())
    }

    async fn discover(&self) {
        let request = Request {
            operation: "read etcd's member list",
            path: "/cluster/member/list",
            body: json!({}),
            standing: Standing::Forwarded,
            stream: false,
        };
        match self.call::<MembersAnswer>(&request, DISCOVER_WITHIN).await {
            Ok(answer) => {
                let members = answer.value.members.into_iter().filter(|m| !m.is_learner);
                self.shared.hosts.discovered(members.flat_map(|m| m.client_urls));
            }
            Err(failed) => debug!(error = %crate::DcsError::from(failed), "no member list; keeping the servers known"),
        }
    }
}

impl Stream {
    /// The next message. Cancelling loses nothing.
    async fn next(&mut self) -> Result<WatchMessage, Failure> {
        loop {
            if let Some(line) = self.line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return message(&line);
            }
            match self.response.chunk().await.map_err(|e| Failure::from_http(&e))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Err(Failure::Broken("the server ended the watch".into())),
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(Failure::Garbled(format!("a message of more than {MAX_ANSWER} bytes")));
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|b| *b == b'\n')?;
        let rest = self.buffer.split_off(end + 1);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// What an error says; a few kilobytes at most.
    async fn rest(&mut self) -> Vec<u8> {
        while let Ok(Some(chunk)) = self.response.chunk().await {
            self.buffer.extend_from_slice(&chunk);
            if self.buffer.len() > 8192 {
                break;
            }
        }
        std::mem::take(&mut self.buffer)
    }
}

fn message(line: &[u8]) -> Result<WatchMessage, Failure> {
    let garbled = |e: serde_json::Error| Failure::Garbled(format!("{e}, in {}", quote(line)));
    let mut message: Value = serde_json::from_slice(line).map_err(garbled)?;
    if let Some(error) = message.get("error") {
        return Err(Failure::from_stream(error));
    }
    let result = message.get_mut("result").map(Value::take).ok_or_else(|| Failure::Garbled(quote(line)))?;
    serde_json::from_value(result).map_err(garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_gateway() {
        let put = br#"{"result":{"header":{"revision":"9"},"events":[{"kv":{"key":"YQ==","mod_revision":"9"}}]}}"#;
        assert_eq!(message(put).expect("put").events[0].kv.mod_revision, 9);
        let gone = br#"{"result":{"canceled":true,"compact_revision":"7"}}"#;
        assert_eq!(message(gone).expect("compacted").compact_revision, 7);
        let error = br#"{"error":{"grpc_code":14,"message":"etcdserver: no leader","http_code":503}}"#;
        assert!(matches!(message(error), Err(Failure::Server { code: 14, .. })));
        for bad in [&b"{}"[..], b"", b"nonsense", b"{\"result\":7}"] {
            assert!(message(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
