//! Follows both lists for ever: reads them, watches them, and after any gap reads again.
//!
//! Two streams, one view. Whatever changes what is known rings, and the newest view goes out: changes that come by the
//! watch and those that an answer of ours brought. A lock runs out without any change, so there is a timer for it; before
//! it is believed, the lock's object is read once more, since a stream that hangs looks just like a holder that is
//! silent.

use std::time::Duration;

use jogi_net::{Backoff, boot_now, random_u64};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::Kubernetes;
use super::call::{Failure, Request, refused};
use super::knowledge::List;
use super::objects::{Object, Part};
use crate::outbox::Outbox;
use crate::{Freshness, View, WatchEvent};

/// One reading of both lists.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream may take to begin.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The API server ends a stream after this, and it is opened again where it stood.
const STREAM_SECONDS: u64 = 290;
/// A stream that goes on for longer has nobody at its other end.
const STREAM_WITHIN: Duration = Duration::from_secs(STREAM_SECONDS + 10);
/// Silence after which the lock's object is read, to see whether anybody is there.
const QUIET: Duration = Duration::from_secs(15);
const CHECK_WITHIN: Duration = Duration::from_secs(3);
/// The API servers behind their service are looked for this often.
const FIND_EVERY: Duration = Duration::from_millis(9500);
const RELABEL_WITHIN: Duration = Duration::from_secs(2);
/// A label that cannot be written is tried again after this.
const RELABEL_AGAIN: Duration = Duration::from_secs(5);
/// Pauses between readings: the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The longest line of a stream.
const MAX_LINE: usize = 8 << 20;

/// Begins in a task of its own.
pub(super) fn start(kubernetes: Kubernetes) -> mpsc::Receiver<WatchEvent> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut watch = Watch { out: Outbox::new(sender), found: None, relabelled: None, kubernetes };
        watch.run().await;
    });
    receiver
}

struct Watch {
    kubernetes: Kubernetes,
    out: Outbox,
    found: Option<Instant>,
    relabelled: Option<Instant>,
}

/// Why a round ended.
enum Ended {
    /// The receiver is gone.
    Closed,
    /// The API server ended a stream in its own time: open both again where they stood.
    Over,
    /// What the watch would go on from is too old: read again.
    TooOld,
    Broken(String),
}

impl Watch {
    async fn run(&mut self) {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            let ended = self.round(&mut pauses).await;
            match ended {
                Ended::Closed => return,
                Ended::Over | Ended::TooOld => sleep(PAUSES.0).await,
                Ended::Broken(why) => {
                    self.out.lost(why);
                    let pause = pauses.next(random_u64());
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.out.pump() => return,
                    }
                }
            }
        }
    }

    /// Reads, then follows until something ends it.
    async fn round(&mut self, pauses: &mut Backoff) -> Ended {
        self.find();
        let kubernetes = self.kubernetes.clone();
        let read = tokio::select! {
            read = kubernetes.read_all(Freshness::Linearizable, READ_WITHIN) => read,
            () = self.out.pump() => return Ended::Closed,
        };
        let versions = match read {
            Ok((view, versions)) => {
                self.out.view(view);
                versions
            }
            Err(error) => return Ended::Broken(error.to_string()),
        };
        let [mut pods_at, mut objects_at] = versions;
        loop {
            let opened =
                tokio::join!(kubernetes.open(List::Pods, &pods_at), kubernetes.open(List::Objects, &objects_at));
            let (mut pods, mut objects) = match opened {
                (Ok(pods), Ok(objects)) => (pods, objects),
                (Err(Failure::Server { status: 410, .. }), _) | (_, Err(Failure::Server { status: 410, .. })) => {
                    return Ended::TooOld;
                }
                (Err(failure), _) | (_, Err(failure)) => {
                    let server = kubernetes.shared.servers.describe();
                    return Ended::Broken(failure.into_error("watch the cluster", server, OPEN_WITHIN).to_string());
                }
            };
            pauses.reset();
            let followed = timeout(STREAM_WITHIN, self.follow(&mut pods, &mut objects)).await;
            let silent = || Ended::Broken(format!("the API server did not end a watch of {STREAM_SECONDS} s in time"));
            match followed.unwrap_or_else(|_| silent()) {
                // Bookmarks have moved these on, so that a quiet cluster is not listed again.
                Ended::Over => (pods_at, objects_at) = (pods.version, objects.version),
                ended @ (Ended::Closed | Ended::TooOld | Ended::Broken(_)) => return ended,
            }
            sleep(PAUSES.0).await;
        }
    }

    async fn follow(&mut self, pods: &mut Stream, objects: &mut Stream) -> Ended {
        let kubernetes = self.kubernetes.clone();
        let mut changes = kubernetes.knowledge().changes();
        let mut heard = Instant::now();
        loop {
            let due = self.due(heard);
            tokio::select! {
                biased;
                event = objects.next() => {
                    heard = Instant::now();
                    if let Err(ended) = event.and_then(|event| kubernetes.apply(List::Objects, &event)) {
                        return ended;
                    }
                }
                event = pods.next() => {
                    if let Err(ended) = event.and_then(|event| kubernetes.apply(List::Pods, &event)) {
                        return ended;
                    }
                }
                Ok(()) = changes.changed() => self.show(),
                () = tokio::time::sleep_until(due) => {
                    match kubernetes.read_part(Part::Leader, CHECK_WITHIN).await {
                        Ok(_) => heard = Instant::now(),
                        Err(error) => return Ended::Broken(error.to_string()),
                    }
                    self.show();
                }
                () = self.out.pump() => return Ended::Closed,
            }
            self.find();
            self.relabel();
        }
    }

    /// The newest view, and whatever else follows from it.
    fn show(&mut self) {
        let read_at = boot_now();
        self.out.view(View { cluster: self.kubernetes.knowledge().view(read_at), read_at });
    }

    /// When to look at the lock again: it has been silent for long, or has just run out.
    fn due(&self, heard: Instant) -> Instant {
        let now = boot_now();
        let quiet = heard + QUIET;
        let observed = self.kubernetes.knowledge().observed().filter(|observed| observed.stands(now));
        let expiry = observed.map(|o| Instant::now() + o.expires().since(now) + Duration::from_millis(1));
        expiry.map_or(quiet, |expiry| expiry.min(quiet))
    }

    /// Looks for the API servers from time to time, beside the watch.
    fn find(&mut self) {
        if self.found.is_none_or(|at| at.elapsed() >= FIND_EVERY) {
            self.found = Some(Instant::now());
            let kubernetes = self.kubernetes.clone();
            tokio::spawn(async move { kubernetes.find_servers(CHECK_WITHIN).await });
        }
    }

    fn relabel(&mut self) {
        if self.relabelled.is_some_and(|at| at.elapsed() < RELABEL_AGAIN) {
            return;
        }
        let Some(labels) = self.kubernetes.labels_due() else {
            return;
        };
        self.relabelled = Some(Instant::now());
        let kubernetes = self.kubernetes.clone();
        tokio::spawn(async move {
            if let Err(error) = kubernetes.relabel(&labels, RELABEL_WITHIN).await {
                tracing::warn!(%error, "the role label of our pod cannot be written");
            }
        });
    }
}

/// One watch: a JSON object per line.
struct Stream {
    response: reqwest::Response,
    buffer: Vec<u8>,
    scanned: usize,
    /// Where another one would go on.
    version: String,
}

impl Kubernetes {
    async fn open(&self, list: List, version: &str) -> Result<Stream, Failure> {
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={STREAM_SECONDS}&resourceVersion={version}",
            self.shared.list_path(list)
        );
        let server = self.shared.servers.all().into_iter().next().unwrap_or_default();
        let request = Request::get("watch the cluster", &path);
        let response = timeout(OPEN_WITHIN, self.send(&server, &request)).await.unwrap_or(Err(Failure::Silent))?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        Ok(Stream { response, buffer: Vec::new(), scanned: 0, version: version.to_owned() })
    }

    /// Takes over one event. 410 ends the round, and the lists are read again.
    fn apply(&self, list: List, event: &Value) -> Result<(), Ended> {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let object = event.get("object").unwrap_or(&Value::Null);
        match kind {
            "ADDED" | "MODIFIED" => {
                let object =
                    Object::parse(object).ok_or_else(|| Ended::Broken("the watch brought no object".into()))?;
                self.knowledge().put(list, object, boot_now());
                Ok(())
            }
            "DELETED" => {
                let object =
                    Object::parse(object).ok_or_else(|| Ended::Broken("the watch brought no object".into()))?;
                self.knowledge().remove(list, &object.name, &object.version, boot_now());
                Ok(())
            }
            "BOOKMARK" => Ok(()),
            "ERROR" => {
                let message = object.get("message").and_then(Value::as_str).unwrap_or("no message");
                match object.get("code").and_then(Value::as_u64) {
                    Some(410) => {
                        debug!(message, "the watch is too old: reading again");
                        Err(Ended::TooOld)
                    }
                    Some(_) | None => Err(Ended::Broken(format!("the API server ended the watch: {message}"))),
                }
            }
            other => Err(Ended::Broken(format!("the watch brought an event of the unknown type {other:?}"))),
        }
    }
}

impl Stream {
    /// The next event. Cancelling loses nothing.
    async fn next(&mut self) -> Result<Value, Ended> {
        loop {
            if let Some(line) = self.line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let event: Value = serde_json::from_slice(&line)
                    .map_err(|e| Ended::Broken(format!("an event of the watch is no JSON: {e}")))?;
                if let Some(version) = event.pointer("/object/metadata/resourceVersion").and_then(Value::as_str) {
                    self.version = version.to_owned();
                }
                return Ok(event);
            }
            let chunk = self.response.chunk().await;
            match chunk.map_err(|e| Ended::Broken(jogi_net::http::describe(&e)))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Err(Ended::Over),
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Ended::Broken(format!("an event of the watch of more than {MAX_LINE} bytes")));
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.scanned + end + 1);
        self.scanned = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::KubernetesOptions;
    use super::super::access::Access;
    use super::*;

    fn kubernetes() -> Kubernetes {
        let section = json!({"labels": {"application": "spilo"}});
        let section = section.as_object().expect("an object");
        let mut access = Access::plain("https://127.0.0.1:9".into(), None);
        access.tls.insecure = true;
        let options = KubernetesOptions::read_with(section, "demo", None, "a", access).expect("valid");
        Kubernetes::new(options).expect("valid")
    }

    fn ended(event: &Value) -> &'static str {
        match kubernetes().apply(List::Objects, event) {
            Ok(()) => "goes on",
            Err(Ended::TooOld) => "is read again",
            Err(Ended::Broken(_)) => "is broken",
            Err(Ended::Over) => "is over",
            Err(Ended::Closed) => "is closed",
        }
    }

    #[test]
    fn what_an_event_does_to_the_watch() {
        let gone = json!({"kind": "Status", "code": 410, "message": "too old resource version: 5 (9)"});
        let other = json!({"kind": "Status", "code": 500, "message": "etcd is away"});
        let object = json!({"metadata": {"name": "demo-leader", "resourceVersion": "7"}});
        for (kind, object, outcome) in [
            ("ADDED", &object, "goes on"),
            ("DELETED", &object, "goes on"),
            ("BOOKMARK", &json!({"metadata": {"resourceVersion": "9"}}), "goes on"),
            ("ERROR", &gone, "is read again"),
            ("ERROR", &other, "is broken"),
            ("MODIFIED", &Value::Null, "is broken"),
            ("NEWS", &object, "is broken"),
        ] {
            assert_eq!(ended(&json!({"type": kind, "object": object})), outcome, "{kind} {object}");
        }
    }

    #[test]
    fn an_event_changes_what_is_known() {
        let kubernetes = kubernetes();
        let event = |kind: &str, version: &str| {
            let annotations = json!({"leader": "b", "ttl": "5", "renewTime": version});
            json!({"type": kind, "object": {"metadata":
                {"name": "demo-leader", "resourceVersion": version, "annotations": annotations}}})
        };
        assert!(kubernetes.apply(List::Objects, &event("ADDED", "7")).is_ok());
        let leader = || kubernetes.knowledge().view(boot_now()).leader.as_ref().map(|l| l.name.to_string());
        assert_eq!(leader().as_deref(), Some("b"));
        assert!(kubernetes.apply(List::Objects, &event("DELETED", "8")).is_ok());
        assert_eq!(leader(), None);
    }
}
