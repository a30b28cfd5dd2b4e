//! The contract of a store: scenarios that every backend must pass, written against the trait alone.
//!
//! A backend gives a [`Fixture`] around a real server, and its test file makes one test of each scenario
//! (`contract!`). Only with the feature `suite`: this is for tests, and it panics where the contract is broken.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jogi_core::view::{Cluster, Condition, Expect, Key, Revision, Session, Write, Written};

use tokio::sync::mpsc::Receiver;

use crate::{Acquired, Beat, Dcs, DcsError, Freshness, LeaderKey, View, WatchEvent};

/// A generous deadline for calls that are not about time.
pub const SOON: Duration = Duration::from_secs(10);
/// The lease of the scenarios; long enough to outlive a slow machine's hiccups.
pub const TTL: Duration = Duration::from_secs(30);

/// How long a store that was started again may take until it answers.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A real server under test: gives clients of one cluster, one per member, and can be harmed.
pub trait Fixture: Send + Sync {
    fn client(&self, name: &str) -> Arc<dyn Dcs>;

    /// A client of the cluster whose name begins with ours.
    fn neighbour(&self) -> Arc<dyn Dcs>;

    /// The ttl of scenarios that wait for the end of a session: the smallest that this server keeps.
    fn floor(&self) -> Duration {
        self.client("a").smallest_ttl()
    }

    /// How long after the end of its ttl the store may still show a session's keys.
    fn grace(&self) -> Duration {
        SOON
    }

    /// Whether a lock that moves to another session stays the same incarnation.
    fn keeps_incarnation(&self) -> bool {
        true
    }

    /// Whether the store removes a member's key with its session. Where members are pods it does not.
    fn members_expire(&self) -> bool {
        true
    }

    /// Connections stay, nothing is answered, until [`thaw`](Fixture::thaw).
    fn freeze(&self);

    fn thaw(&self);

    /// Ends the server, data kept, until [`start`](Fixture::start).
    fn stop(&self);

    /// Starts it again at the same address.
    fn start(&self);
}

/// A member with a session.
pub async fn member(store: &impl Fixture, name: &str) -> (Arc<dyn Dcs>, Session) {
    let dcs = store.client(name);
    let session = dcs.open_session(TTL, SOON).await.expect("a session");
    (dcs, session)
}

pub async fn cluster(dcs: &Arc<dyn Dcs>) -> Arc<Cluster> {
    dcs.load(Freshness::Linearizable, SOON).await.expect("a reading").cluster
}

pub async fn write(dcs: &Arc<dyn Dcs>, write: Write) -> Written {
    dcs.write(&write, SOON).await.expect("an answer")
}

pub async fn take(dcs: &Arc<dyn Dcs>, session: &Session) -> Revision {
    match dcs.acquire(session, &Expect::free(), SOON).await.expect("an answer") {
        Acquired::Yes { created, .. } => created,
        other => panic!("the lock was free: {other:?}"),
    }
}

pub fn done(written: Written) -> Revision {
    match written {
        Written::Done { revision } => revision,
        other => panic!("not written: {other:?}"),
    }
}

/// The first view for which `wanted` holds.
pub async fn view_where(
    watch: &mut Receiver<WatchEvent>,
    what: &str,
    within: Duration,
    wanted: impl Fn(&Cluster) -> bool,
) -> View {
    let seen = async {
        loop {
            match watch.recv().await.expect("the watch goes on") {
                WatchEvent::View(view) if wanted(&view.cluster) => return view,
                WatchEvent::View(_) | WatchEvent::Lost(_) => {}
            }
        }
    };
    tokio::time::timeout(within, seen).await.unwrap_or_else(|_| panic!("in {within:?} the watch did not show: {what}"))
}

pub async fn lost(watch: &mut Receiver<WatchEvent>, within: Duration) -> String {
    let seen = async {
        loop {
            if let WatchEvent::Lost(why) = watch.recv().await.expect("the watch goes on") {
                return why;
            }
        }
    };
    tokio::time::timeout(within, seen).await.expect("the watch says that it is lost")
}

/// Repeats until the value is there.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, within: Duration, look: impl Fn() -> F) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < end, "in {within:?} never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn leader(cluster: &Cluster) -> Option<&str> {
    cluster.leader.as_ref().map(|l| l.name.as_str())
}

pub async fn a_key_is_created_once(store: impl Fixture) {
    let (a, b) = (store.client("a"), store.client("b"));
    let create = || Write::put(Key::Initialize, "").when(Condition::Absent);
    done(write(&a, create()).await);
    assert_eq!(write(&b, create()).await, Written::Conflict);
    done(write(&a, Write::put(Key::Initialize, "7612345678901234567")).await);
    assert_eq!(cluster(&b).await.system_identifier(), Some("7612345678901234567"));
    done(write(&a, Write::delete(Key::Initialize)).await);
    done(write(&b, create()).await);
}

pub async fn a_changed_key_is_not_overwritten(store: impl Fixture) {
    let (a, b) = (store.client("a"), store.client("b"));
    let first = done(write(&a, Write::put(Key::Config, r#"{"ttl":30}"#)).await);
    let read = cluster(&b).await.config.as_ref().expect("written").revision.clone();
    assert_eq!(read, first, "a write returns the revision that a reader sees");
    let second = done(write(&b, Write::put(Key::Config, r#"{"ttl":20}"#).when(Condition::Unchanged(read))).await);
    let stale = Condition::Unchanged(first.clone());
    assert_eq!(write(&a, Write::put(Key::Config, "{}").when(stale.clone())).await, Written::Conflict);
    assert_eq!(write(&a, Write::delete(Key::Config).when(stale)).await, Written::Conflict);
    assert_eq!(cluster(&a).await.config.as_ref().expect("kept").value["ttl"], 20);
    done(write(&a, Write::delete(Key::Config).when(Condition::Unchanged(second.clone()))).await);
    let gone = Condition::Unchanged(second);
    assert_eq!(
        write(&a, Write::put(Key::Config, "{}").when(gone)).await,
        Written::Conflict,
        "a deleted key has changed"
    );
    done(write(&a, Write::delete(Key::Config)).await);
}

pub async fn one_of_two_contenders_gets_the_lock(store: impl Fixture) {
    let (a, on_a) = member(&store, "a").await;
    let (b, on_b) = member(&store, "b").await;
    for round in 0..20 {
        let expect = Expect::free();
        let (by_a, by_b) = tokio::join!(a.acquire(&on_a, &expect, SOON), b.acquire(&on_b, &expect, SOON));
        let (by_a, by_b) = (by_a.expect("an answer"), by_b.expect("an answer"));
        let (winner, name, created) = match (&by_a, &by_b) {
            (Acquired::Yes { created, .. }, Acquired::Conflict) => (&a, "a", created),
            (Acquired::Conflict, Acquired::Yes { created, .. }) => (&b, "b", created),
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(leader(&*cluster(&b).await), Some(name));
        assert!(winner.release(created, None, SOON).await.expect("an answer"));
    }
}

pub async fn taking_the_lock_compares_what_was_decided_on(store: impl Fixture) {
    let (a, on_a) = member(&store, "a").await;
    let b = store.client("b");
    for key in [Key::Sync, Key::Failover, Key::Initialize] {
        let read = done(write(&b, Write::put(key.clone(), "{}")).await);
        let changed = done(write(&b, Write::put(key.clone(), r#"{"leader":"b"}"#)).await);
        let expecting = |condition: Condition| {
            let mut expect = Expect::free();
            match &key {
                Key::Sync => expect.sync = condition,
                Key::Failover => expect.failover = condition,
                _ => expect.initialize = condition,
            }
            expect
        };
        for stale in [Condition::Unchanged(read), Condition::Absent] {
            let answer = a.acquire(&on_a, &expecting(stale), SOON).await.expect("an answer");
            assert_eq!(answer, Acquired::Conflict, "{key:?}");
        }
        assert_eq!(leader(&*cluster(&a).await), None);
        let answer = a.acquire(&on_a, &expecting(Condition::Unchanged(changed)), SOON).await.expect("an answer");
        let Acquired::Yes { created, .. } = answer else { panic!("{key:?}: {answer:?}") };
        assert!(a.release(&created, None, SOON).await.expect("an answer"));
    }
}

pub async fn our_own_lock_of_an_earlier_session_is_taken_over(store: impl Fixture) {
    let (a, before) = member(&store, "a").await;
    let created = take(&a, &before).await;
    let now = a.open_session(TTL, SOON).await.expect("a session");
    let seen = cluster(&a).await.leader.clone().expect("held");
    assert_eq!((&seen.created, &seen.session), (&created, &Some(before.clone())));
    let expect = Expect { leader: Condition::Unchanged(seen.revision), ..Expect::free() };
    let answer = a.acquire(&now, &expect, SOON).await.expect("an answer");
    assert!(matches!(answer, Acquired::Yes { .. }), "{answer:?}");
    assert_eq!(cluster(&a).await.leader.as_ref().and_then(|l| l.session.clone()), Some(now));
}

pub async fn a_session_that_is_not_renewed_ends_with_its_keys(store: impl Fixture) {
    let (a, b) = (store.client("a"), Arc::new(store.client("b")));
    let ttl = store.floor();
    let opened = Instant::now();
    let session = a.open_session(ttl, SOON).await.expect("a session");
    take(&a, &session).await;
    done(write(&a, Write::put(Key::Member("a".into()), "{}").on_session(&session)).await);
    let mut watch = (*b).clone().watch();
    view_where(&mut watch, "both keys", SOON, |c| leader(c).is_some() && c.members.len() == 1).await;
    view_where(&mut watch, "neither key", ttl + store.grace(), |c| {
        leader(c).is_none() && (c.members.is_empty() || !store.members_expire())
    })
    .await;
    assert!(opened.elapsed() >= ttl, "the store may never be quicker than the holder believes");
    assert_eq!(a.beat(&session, true, SOON).await.expect("an answer"), Beat::SessionGone);
}

pub async fn a_renewed_session_outlives_its_ttl(store: impl Fixture) {
    let a = store.client("a");
    let ttl = store.floor();
    let session = a.open_session(ttl, SOON).await.expect("a session");
    let created = take(&a, &session).await;
    let until = Instant::now() + ttl.mul_f64(2.5);
    while Instant::now() < until {
        let beat = a.beat(&session, true, SOON).await.expect("an answer");
        let Beat::Extended { leader: Some(LeaderKey { name, session: on, created: seen, .. }) } = beat else {
            panic!("{beat:?}");
        };
        assert_eq!((name.as_str(), on, seen), ("a", Some(session.clone()), created.clone()));
        tokio::time::sleep(ttl / 8).await;
    }
    assert_eq!(a.beat(&session, false, SOON).await.expect("an answer"), Beat::Extended { leader: None });
    assert!(a.release(&created, None, SOON).await.expect("an answer"));
    assert_eq!(a.beat(&session, true, SOON).await.expect("an answer"), Beat::Extended { leader: None });
}

pub async fn a_session_lost_while_holding_is_noticed_by_everything(store: impl Fixture) {
    let (a, session) = member(&store, "a").await;
    let created = take(&a, &session).await;
    a.close_session(&session, SOON).await.expect("closed");
    assert_eq!(leader(&*cluster(&a).await), None);
    assert_eq!(a.beat(&session, true, SOON).await.expect("an answer"), Beat::SessionGone);
    assert_eq!(a.acquire(&session, &Expect::free(), SOON).await.expect("an answer"), Acquired::SessionGone);
    let put = Write::put(Key::Member("a".into()), "{}").on_session(&session);
    assert_eq!(write(&a, put).await, Written::SessionGone);
    let status = Write::put(Key::Status, "{}").while_leader(&created);
    assert_eq!(write(&a, status).await, Written::Conflict);
    assert!(!a.release(&created, Some("{}"), SOON).await.expect("an answer"));
    a.close_session(&session, SOON).await.expect("closing twice is no error");
}

pub async fn only_the_holder_releases_and_leaves_its_status(store: impl Fixture) {
    let (a, on_a) = member(&store, "a").await;
    let (b, on_b) = member(&store, "b").await;
    let first = take(&a, &on_a).await;
    assert!(!b.release(&first, Some(r#"{"optime":1}"#), SOON).await.expect("an answer"), "it is not b's");
    assert!(a.release(&first, Some(r#"{"optime":67406904}"#), SOON).await.expect("an answer"));
    let after = cluster(&b).await;
    assert_eq!((leader(&after), after.status.optime.0), (None, 67406904));
    assert!(!a.release(&first, Some(r#"{"optime":2}"#), SOON).await.expect("an answer"), "it is released already");
    let second = take(&b, &on_b).await;
    assert_ne!(first, second, "each holding has a name of its own");
    assert!(!a.release(&first, Some(r#"{"optime":3}"#), SOON).await.expect("an answer"));
    let after = cluster(&a).await;
    assert_eq!((leader(&after), after.status.optime.0), (Some("b"), 67406904));
}

pub async fn the_lock_moves_to_another_session(store: impl Fixture) {
    let (a, old) = member(&store, "a").await;
    let created = take(&a, &old).await;
    let new = a.open_session(TTL, SOON).await.expect("a session");
    let answer = a.reattach(&new, &created, SOON).await.expect("an answer");
    let Acquired::Yes { created: same, .. } = answer else { panic!("{answer:?}") };
    assert!(same == created || !store.keeps_incarnation(), "moving is no new holding");
    let created = same;
    a.close_session(&old, SOON).await.expect("closed");
    let beat = a.beat(&new, true, SOON).await.expect("an answer");
    assert!(matches!(&beat, Beat::Extended { leader: Some(key) } if key.session == Some(new.clone())), "{beat:?}");
    assert_eq!(a.reattach(&old, &created, SOON).await.expect("an answer"), Acquired::SessionGone);
    let b = store.client("b");
    let on_b = b.open_session(TTL, SOON).await.expect("a session");
    assert_eq!(b.reattach(&on_b, &created, SOON).await.expect("an answer"), Acquired::Conflict);
}

pub async fn what_only_the_holder_writes(store: impl Fixture) {
    let (a, on_a) = member(&store, "a").await;
    let (b, on_b) = member(&store, "b").await;
    let mine = take(&a, &on_a).await;
    done(write(&a, Write::put(Key::Status, r#"{"optime":5}"#).while_leader(&mine)).await);
    assert!(a.release(&mine, None, SOON).await.expect("an answer"));
    take(&b, &on_b).await;
    for key in [Key::Status, Key::History, Key::Failsafe] {
        assert_eq!(write(&a, Write::put(key, "{}").while_leader(&mine)).await, Written::Conflict);
    }
    assert_eq!(cluster(&a).await.status.optime.0, 5);
}

pub async fn a_member_key_belongs_to_its_session(store: impl Fixture) {
    let (a, session) = member(&store, "a").await;
    let text =
        r#"{"conn_url":"postgres://10.0.0.5:5432/postgres","state":"running","role":"replica","version":"4.1.5"}"#;
    done(write(&a, Write::put(Key::Member("a".into()), text).on_session(&session)).await);
    let read = cluster(&a).await;
    let found = read.members.get("a").expect("there");
    assert_eq!(found.session, Some(session.clone()));
    a.close_session(&session, SOON).await.expect("closed");
    let left = cluster(&a).await;
    match store.members_expire() {
        true => assert!(left.members.is_empty()),
        false => assert_eq!(left.members["a"].session, None, "it is on no session any more"),
    }
}

pub async fn the_watch_shows_every_change_soon(store: impl Fixture) {
    let (a, session) = member(&store, "a").await;
    let b = store.client("b");
    let mut watch = b.clone().watch();
    view_where(&mut watch, "the empty cluster", SOON, |c| *c == Cluster::default()).await;
    take(&a, &session).await;
    view_where(&mut watch, "the leader", SOON, |c| leader(c) == Some("a")).await;
    for n in 1..=50u64 {
        done(write(&a, Write::put(Key::Status, format!("{{\"optime\":{n}}}"))).await);
    }
    let view = view_where(&mut watch, "the last of many writes", SOON, |c| c.status.optime.0 == 50).await;
    assert_eq!(leader(&view.cluster), Some("a"), "a view is the whole cluster");
    assert_eq!(*view.cluster, *cluster(&b).await);
    a.close_session(&session, SOON).await.expect("closed");
    view_where(&mut watch, "the leader gone", SOON, |c| leader(c).is_none()).await;
}

pub async fn a_slow_watcher_gets_the_newest_state(store: impl Fixture) {
    let (a, b) = (store.client("a"), store.client("b"));
    let mut watch = b.clone().watch();
    view_where(&mut watch, "the empty cluster", SOON, |_| true).await;
    for n in 1..=200u64 {
        done(write(&a, Write::put(Key::Status, format!("{{\"optime\":{n}}}"))).await);
    }
    let mut received = 0;
    let seen = async {
        loop {
            received += 1;
            match watch.recv().await.expect("the watch goes on") {
                WatchEvent::View(view) if view.cluster.status.optime.0 == 200 => return,
                WatchEvent::View(_) | WatchEvent::Lost(_) => {}
            }
        }
    };
    tokio::time::timeout(SOON, seen).await.expect("the newest state");
    assert!(received < 200, "no backlog: {received} views for 200 changes while nobody took any");
}

pub async fn views_of_one_client_never_go_back(store: impl Fixture) {
    let (a, b) = (store.client("a"), store.client("b"));
    let mut watch = b.clone().watch();
    let mut newest = 0;
    for n in 1..=50u64 {
        done(write(&a, Write::put(Key::Status, format!("{{\"optime\":{n}}}"))).await);
        let read = cluster(&b).await.status.optime.0;
        assert_eq!(read, n, "a linearizable reading sees every answered write");
        while let Ok(WatchEvent::View(view)) = watch.try_recv() {
            let seen = view.cluster.status.optime.0;
            assert!(seen >= newest, "the watch went back from {newest} to {seen}");
            newest = seen;
        }
    }
}

pub async fn a_removed_cluster_leaves_nothing_and_no_neighbour_behind(store: impl Fixture) {
    let (a, session) = member(&store, "a").await;
    let neighbour = store.neighbour();
    done(write(&neighbour, Write::put(Key::Initialize, "7612345678901234567")).await);
    take(&a, &session).await;
    for key in [Key::Initialize, Key::Config, Key::Sync, Key::History, Key::Member("a".into())] {
        done(write(&a, Write::put(key, "{}")).await);
    }
    a.remove_cluster(SOON).await.expect("removed");
    let mut left = Cluster::clone(&*cluster(&a).await);
    if !store.members_expire() {
        left.members.clear();
    }
    assert_eq!(left, Cluster::default());
    assert!(cluster(&neighbour).await.system_identifier().is_some(), "a neighbour's keys are not ours");
}

pub async fn a_sibling_is_a_client_of_the_same_cluster(store: impl Fixture) {
    let (a, session) = member(&store, "a").await;
    let sibling = a.sibling().expect("the same options");
    let created = take(&sibling, &session).await;
    assert_eq!(leader(&*cluster(&a).await), Some("a"));
    assert!(a.release(&created, None, SOON).await.expect("an answer"));
    assert_eq!(a.describe(), sibling.describe());
}

pub async fn a_hanging_server_is_an_error_in_time(store: impl Fixture) {
    let (a, session) = member(&store, "a").await;
    take(&a, &session).await;
    let mut watch = store.client("b").watch();
    view_where(&mut watch, "the leader", SOON, |c| leader(c) == Some("a")).await;
    store.freeze();
    let deadline = Duration::from_millis(700);
    let began = Instant::now();
    let put = Write::put(Key::Status, r#"{"optime":7}"#);
    let free = Expect::free();
    let answers = tokio::join!(
        a.load(Freshness::Linearizable, deadline),
        a.beat(&session, true, deadline),
        a.write(&put, deadline),
        a.acquire(&session, &free, deadline),
        a.open_session(TTL, deadline),
    );
    assert!(began.elapsed() < SOON, "a deadline is kept: {:?}", began.elapsed());
    store.thaw();
    let errors: [Option<DcsError>; 5] =
        [answers.0.err(), answers.1.err(), answers.2.err(), answers.3.err(), answers.4.err()];
    assert!(errors.iter().all(|e| e.as_ref().is_some_and(|e| e.to_string().contains(": "))), "{errors:?}");
    eventually("the session lives on", UP_WITHIN, || async { a.beat(&session, true, SOON).await.ok() }).await;
    eventually("a write is answered", UP_WITHIN, || async { a.write(&put, SOON).await.ok() }).await;
    view_where(&mut watch, "what was written afterwards", UP_WITHIN, |c| c.status.optime.0 == 7).await;
}

pub async fn a_server_that_was_away_is_found_again(store: impl Fixture) {
    let (a, b) = (store.client("a"), store.client("b"));
    done(write(&a, Write::put(Key::Initialize, "7612345678901234567")).await);
    let mut watch = b.clone().watch();
    view_where(&mut watch, "the identity", SOON, |c| c.system_identifier().is_some()).await;
    store.stop();
    lost(&mut watch, UP_WITHIN).await;
    let refused = a.load(Freshness::Linearizable, Duration::from_millis(700)).await;
    assert!(refused.is_err(), "nobody is there: {refused:?}");
    store.start();
    let write = Write::put(Key::Status, r#"{"optime":8}"#);
    eventually("a write is answered", UP_WITHIN, || async { a.write(&write, SOON).await.ok() }).await;
    let view = view_where(&mut watch, "what was written afterwards", UP_WITHIN, |c| c.status.optime.0 == 8).await;
    assert!(view.cluster.system_identifier().is_some(), "what was there before is there still");
}

/// Makes one test of each scenario for the store that the expression gives, where the condition says that it
/// can run: `contract!(if can(&[…]) => Store::start());`
#[macro_export]
macro_rules! contract {
    (if $can:expr => $store:expr) => {
        $crate::contract!(@ $can, $store;
            a_key_is_created_once
            a_changed_key_is_not_overwritten
            one_of_two_contenders_gets_the_lock
            taking_the_lock_compares_what_was_decided_on
            our_own_lock_of_an_earlier_session_is_taken_over
            a_session_that_is_not_renewed_ends_with_its_keys
            a_renewed_session_outlives_its_ttl
            a_session_lost_while_holding_is_noticed_by_everything
            only_the_holder_releases_and_leaves_its_status
            the_lock_moves_to_another_session
            what_only_the_holder_writes
            a_member_key_belongs_to_its_session
            the_watch_shows_every_change_soon
            a_slow_watcher_gets_the_newest_state
            views_of_one_client_never_go_back
            a_removed_cluster_leaves_nothing_and_no_neighbour_behind
            a_sibling_is_a_client_of_the_same_cluster
            a_hanging_server_is_an_error_in_time
            a_server_that_was_away_is_found_again
        );
    };
    (@ $can:expr, $store:expr; $($scenario:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                if $can {
                    $crate::suite::$scenario($store).await;
                }
            }
        )*
    };
}
