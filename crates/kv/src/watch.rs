//! A watch is a cursor in the history: it says what happened since it was asked last.

use std::collections::BTreeSet;

use crate::history::Place;
use crate::keys::KeyRange;
use crate::rpc::{Event, EventType, FilterType, ResponseHeader, WatchCreateRequest, WatchResponse};
use crate::store::Store;

/// What one message may hold of history; of a revision, all. Fragments are cut below it.
const MESSAGE_BYTES: usize = 1_048_576;
/// Added to each event's key and values.
const EVENT_OVERHEAD: usize = 64;

/// One watch of a client.
#[derive(Clone, Debug)]
pub struct Watcher {
    id: i64,
    range: KeyRange,
    /// The first revision that it has not told.
    next: i64,
    leaves_out: BTreeSet<i32>,
    with_previous: bool,
    in_fragments: bool,
    /// Whether the client wants to hear from time to time that nothing happened.
    pub progress_notify: bool,
}

impl Watcher {
    /// The watch, and the message that says so.
    pub fn create(store: &Store, request: &WatchCreateRequest, id: i64) -> (Watcher, WatchResponse) {
        let next = if request.start_revision > 0 { request.start_revision } else { store.revision() + 1 };
        let watcher = Watcher {
            id,
            range: KeyRange::new(&request.key, &request.range_end),
            next,
            leaves_out: request.filters.iter().copied().collect(),
            with_previous: request.prev_kv,
            in_fragments: request.fragment,
            progress_notify: request.progress_notify,
        };
        let created = WatchResponse { created: true, ..watcher.message(store) };
        (watcher, created)
    }

    pub fn id(&self) -> i64 {
        self.id
    }

    /// What happened since, as the messages to send in this order; none when nothing did. A message with `canceled` is
    /// the last one: the history that the watch needs is compacted. To be asked again until there are none.
    pub fn poll(&mut self, store: &Store) -> Vec<WatchResponse> {
        if self.next < store.compacted() {
            return vec![WatchResponse {
                canceled: true,
                compact_revision: store.compacted(),
                cancel_reason: "etcdserver: mvcc: required revision has been compacted".into(),
                ..self.message(store)
            }];
        }
        let (events, told) = self.collect(store);
        self.next = self.next.max(told + 1);
        if events.is_empty() {
            return Vec::new();
        }
        self.fragments(store, events)
    }

    /// Says up to where everything has been told.
    pub fn progress(&self, store: &Store) -> Option<WatchResponse> {
        (self.next == store.revision() + 1).then(|| self.message(store))
    }

    pub fn canceled(&self, store: &Store) -> WatchResponse {
        WatchResponse { canceled: true, ..self.message(store) }
    }

    fn message(&self, store: &Store) -> WatchResponse {
        let header = ResponseHeader { revision: store.revision(), ..ResponseHeader::default() };
        WatchResponse { header: Some(header), watch_id: self.id, ..WatchResponse::default() }
    }

    /// Events of whole revisions, and the last revision that has been looked at.
    fn collect(&self, store: &Store) -> (Vec<Event>, i64) {
        let mut events: Vec<Event> = Vec::new();
        let (mut bytes, mut last) = (0, None::<Place>);
        let happened = store.history.events(&self.range, self.next, store.revision(), self.with_previous);
        for (place, event) in happened.filter(|(_, event)| !self.is_left_out(event)) {
            if bytes >= MESSAGE_BYTES && last.is_some_and(|last| last.main < place.main) {
                return (events, place.main - 1);
            }
            (bytes, last) = (bytes + size(&event), Some(place));
            events.push(event);
        }
        (events, store.revision())
    }

    fn is_left_out(&self, event: &Event) -> bool {
        let filter = if event.kind == EventType::Put as i32 { FilterType::Noput } else { FilterType::Nodelete };
        self.leaves_out.contains(&(filter as i32))
    }

    fn fragments(&self, store: &Store, events: Vec<Event>) -> Vec<WatchResponse> {
        if !self.in_fragments {
            return vec![WatchResponse { events, ..self.message(store) }];
        }
        let mut messages = vec![self.message(store)];
        let mut bytes = 0;
        for event in events {
            let size = size(&event);
            if bytes > 0 && bytes + size > MESSAGE_BYTES {
                messages.push(self.message(store));
                bytes = 0;
            }
            bytes += size;
            if let Some(last) = messages.last_mut() {
                last.events.push(event);
            }
        }
        let last = messages.len() - 1;
        messages[..last].iter_mut().for_each(|message| message.fragment = true);
        messages
    }
}

fn size(event: &Event) -> usize {
    let kvs = [&event.kv, &event.prev_kv];
    kvs.into_iter().flatten().map(|kv| kv.key.len() + kv.value.len()).sum::<usize>() + EVENT_OVERHEAD
}
