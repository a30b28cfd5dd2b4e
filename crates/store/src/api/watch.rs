//! Watches: a stream of lines, made as the client takes them.
//!
//! A watch holds a place in the history and nothing else, so a client that never reads costs what one message takes; if
//! it falls behind what is compacted, its watch is cancelled, as etcd does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use jogi_kv::Watcher;
use jogi_kv::rpc::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::time::Instant;

use super::{Api, Failed, line, messages};

/// etcd's interval for watches that ask to hear that nothing happened.
const PROGRESS_EVERY: Duration = Duration::from_secs(600);

pub(super) async fn watch(State(api): State<Arc<Api>>, request: Body) -> Result<Response, Failed> {
    let requests: Vec<WatchRequest> = messages(request).await?;
    let applied = api.node.applied();
    let mut watches = Watches {
        applied,
        stop: api.stop.clone(),
        api,
        open: Vec::new(),
        ready: VecDeque::new(),
        next_id: 0,
        progress_at: Instant::now() + PROGRESS_EVERY,
    };
    requests.into_iter().for_each(|request| watches.take(request));
    let lines = stream::unfold(watches, |mut watches| async move { Some((watches.next().await?, watches)) });
    let lines = futures_util::StreamExt::map(lines, Ok::<Bytes, std::convert::Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

/// The watches of one stream.
struct Watches {
    api: Arc<Api>,
    applied: tokio::sync::watch::Receiver<u64>,
    stop: tokio::sync::watch::Receiver<bool>,
    open: Vec<Watcher>,
    ready: VecDeque<WatchResponse>,
    next_id: i64,
    progress_at: Instant,
}

impl Watches {
    fn take(&mut self, request: WatchRequest) {
        if let Some(create) = request.create_request {
            self.create(create);
        } else if let Some(cancel) = request.cancel_request {
            let store = self.api.node.store();
            let gone = self.open.iter().position(|watcher| watcher.id() == cancel.watch_id);
            self.ready.extend(gone.map(|at| self.open.remove(at).canceled(&store)));
        } else if request.progress_request.is_some() {
            let store = self.api.node.store();
            // etcd answers for all watches at once, under the id -1.
            let progress = self.open.first().and_then(|watcher| watcher.progress(&store));
            self.ready.extend(progress.map(|message| WatchResponse { watch_id: -1, ..message }));
        }
    }

    fn create(&mut self, mut request: WatchCreateRequest) {
        // Nothing means the smallest key.
        if request.key.is_empty() {
            request.key = Bytes::from_static(&[0]);
        }
        let store = self.api.node.store();
        let taken = |id: i64| self.open.iter().any(|watcher| watcher.id() == id);
        if request.watch_id != 0 && taken(request.watch_id) {
            let (watcher, _) = Watcher::create(&store, &request, -1);
            let cancel_reason = "mvcc: duplicate watch ID provided on the WatchStream".to_owned();
            self.ready.push_back(WatchResponse { created: true, cancel_reason, ..watcher.canceled(&store) });
            return;
        }
        while request.watch_id == 0 && taken(self.next_id) {
            self.next_id += 1;
        }
        let id = if request.watch_id == 0 { self.next_id } else { request.watch_id };
        let (watcher, created) = Watcher::create(&store, &request, id);
        self.ready.push_back(created);
        self.open.push(watcher);
    }

    /// The next line; `None` when there is nothing more to watch, or the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                let header = self.api.header(message.header.clone());
                return Some(line(&WatchResponse { header, ..message }));
            }
            self.applied.borrow_and_update();
            if self.poll() {
                continue;
            }
            if self.open.is_empty() || *self.stop.borrow() {
                return None;
            }
            let quiet = tokio::select! {
                changed = self.applied.changed() => changed.map(|()| false).ok()?,
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(self.progress_at) => true,
            };
            if quiet {
                self.progress();
            }
        }
    }

    /// Whether anything came.
    fn poll(&mut self) -> bool {
        let store = self.api.node.store();
        let ready = &mut self.ready;
        self.open.retain_mut(|watcher| {
            let messages = watcher.poll(&store);
            let over = messages.iter().any(|message| message.canceled);
            ready.extend(messages);
            !over
        });
        !ready.is_empty()
    }

    fn progress(&mut self) {
        self.progress_at = Instant::now() + PROGRESS_EVERY;
        let store = self.api.node.store();
        let asked = self.open.iter().filter(|watcher| watcher.progress_notify);
        self.ready.extend(asked.filter_map(|watcher| watcher.progress(&store)));
    }
}
