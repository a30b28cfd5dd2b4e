//! The keeper's thread against a real etcd.

use std::sync::Arc;
use std::time::Duration;

use jogi_core::ha::{Failure, Generation, Lease, Taken};
use jogi_core::lease::keeper::Adopted;
use jogi_core::view::{Expect, Leader};
use jogi_core::{MemberName, Tick};
use jogi_dcs::etcd3::{Etcd3, Etcd3Options};
use jogi_dcs::{Dcs, Freshness};
use jogi_net::boot_now;
use jogi_testkit::etcd::Etcd;
use jogi_testkit::require::{Need, can};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{KeeperHandle, Options, spawn};

const TTL: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(5);
/// Everything here takes seconds at most; a machine under load gets more.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    etcd: Etcd,
}

/// One agent's keeper, and a task in the core's place that keeps the permission alive.
struct Member {
    keeper: KeeperHandle,
    news: watch::Receiver<Lease>,
    core: tokio::task::JoinHandle<()>,
    dcs: Arc<dyn Dcs>,
}

impl Fixture {
    fn new() -> Option<Fixture> {
        can(&[Need::Program("etcd")]).then(|| Fixture { etcd: Etcd::start() })
    }

    fn store(&self, name: &str) -> Arc<dyn Dcs> {
        let options = Etcd3Options::plain(self.etcd.urls(), "/service/herd", name);
        Arc::new(Etcd3::new(options).expect("a client"))
    }

    fn member(&self, name: &str, adopt: Option<Adopted>) -> Member {
        let (_, page) = watch::channel(None);
        let dcs = self.store(name);
        let own = dcs.sibling().expect("a sibling");
        let (keeper, news) =
            spawn(Options { name: name.into(), dcs: own, page, ttl: TTL, adopt, watchdog: Default::default() })
                .expect("a keeper");
        let core = tokio::spawn(permit(keeper.clone()));
        Member { keeper, news, core, dcs }
    }
}

async fn permit(keeper: KeeperHandle) {
    loop {
        keeper.permit(boot_now() + TTL);
        tokio::time::sleep(TTL / 8).await;
    }
}

impl Member {
    async fn until(&mut self, what: &str, condition: impl Fn(&Lease) -> bool) -> Lease {
        let seen = timeout(PATIENCE, self.news.wait_for(|lease| condition(lease))).await;
        seen.unwrap_or_else(|_| panic!("{what} within {PATIENCE:?}")).expect("the keeper lives").clone()
    }

    async fn lead(&mut self) -> (Generation, Tick) {
        let taken = self.keeper.acquire(Expect::free(), LIMIT).await.expect("an answer");
        let Taken::Yes { generation, valid_until, .. } = taken else { panic!("the lock is free: {taken:?}") };
        (generation, valid_until)
    }

    async fn leader(&self) -> Option<Leader> {
        self.dcs.load(Freshness::Linearizable, LIMIT).await.expect("a reading").cluster.leader.clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.core.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_taken_renewed_and_given_to_the_next() {
    let Some(fixture) = Fixture::new() else { return };
    let (mut a, mut b) = (fixture.member("a", None), fixture.member("b", None));
    a.until("a session", |lease| lease.session.is_some()).await;
    b.until("a session", |lease| lease.session.is_some()).await;
    let (generation, taken_until) = a.lead().await;
    assert!(a.keeper.valid_until() >= taken_until);
    a.until("three renewals", |lease| lease.lock.as_ref().is_some_and(|l| l.valid_until > taken_until + TTL)).await;
    assert_eq!(b.keeper.acquire(Expect::free(), LIMIT).await, Ok(Taken::Conflict));

    let released = a.keeper.release(Some(r#"{"optime":42}"#.into()), LIMIT).await;
    assert_eq!(released, Ok(true));
    assert_eq!(a.keeper.valid_until(), Tick::ZERO);
    let after = a.until("no lock", |lease| lease.lock.is_none()).await;
    assert_eq!(after.lost, None);
    let cluster = b.dcs.load(Freshness::Linearizable, LIMIT).await.expect("a reading").cluster;
    assert_eq!((cluster.leader.is_none(), cluster.status.optime.0), (true, 42));
    b.lead().await;
    assert_eq!(a.keeper.release(None, LIMIT).await, Ok(false));
    let again = b.leader().await.expect("a leader");
    assert_eq!((again.name.as_str(), generation.0 != 0), ("b", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stands_still_costs_the_lock_in_time_and_it_comes_back() {
    let Some(fixture) = Fixture::new() else { return };
    let mut a = fixture.member("a", None);
    a.lead().await;
    fixture.etcd.freeze(0);
    let frozen = boot_now();
    let attempt = tokio::spawn({
        let keeper = a.keeper.clone();
        async move { keeper.release_stale(jogi_core::view::Revision("1".into()), None, Duration::from_millis(300)).await }
    });
    let lost = a.until("the loss", |lease| lease.lock.is_none()).await;
    let took = boot_now().since(frozen);
    assert!(took < TTL + Duration::from_secs(1), "lost after {took:?}");
    assert!(lost.lost.is_some_and(|why| why.contains("time is over")));
    assert_eq!(a.keeper.valid_until(), Tick::ZERO);
    assert!(matches!(attempt.await.expect("joined"), Err(Failure::Unreachable(_))));
    fixture.etcd.thaw(0);
    a.until("a new session", |lease| lease.session.is_some()).await;
    // The old key is nobody's, runs out by itself, and can be taken again.
    let deadline = boot_now() + PATIENCE;
    while a.keeper.acquire(Expect::free(), LIMIT).await.is_ok_and(|taken| taken == Taken::Conflict) {
        assert!(boot_now() < deadline, "the old key is still there: {:?}", a.leader().await);
    }
    assert!(a.keeper.valid_until() > boot_now());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_the_lock_runs_out_everywhere() {
    let Some(fixture) = Fixture::new() else { return };
    let mut a = fixture.member("a", None);
    a.lead().await;
    a.core.abort();
    a.until("the loss", |lease| lease.lock.is_none()).await;
    let deadline = boot_now() + PATIENCE;
    while a.leader().await.is_some() {
        assert!(boot_now() < deadline, "the key outlives its holder's permission");
    }
    a.core = tokio::spawn(permit(a.keeper.clone()));
    a.until("a session", |lease| lease.session.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ttl_moves_the_lock_without_losing_it() {
    let Some(fixture) = Fixture::new() else { return };
    let mut a = fixture.member("a", None);
    let (generation, _) = a.lead().await;
    let before = a.leader().await.expect("a leader");
    a.keeper.set_ttl(Duration::from_secs(20));
    let long =
        |lease: &Lease| lease.lock.as_ref().is_some_and(|l| l.valid_until > boot_now() + Duration::from_secs(15));
    let lease = a.until("the long lease", long).await;
    assert_eq!(lease.lock.map(|lock| lock.generation), Some(generation));
    let after = a.leader().await.expect("a leader");
    assert_eq!(after.created, before.created, "the same incarnation");
    assert_ne!(after.session, before.session);
    assert_eq!(after.session, lease.session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_carries_the_lock_on() {
    let Some(fixture) = Fixture::new() else { return };
    let mut first = fixture.member("a", None);
    let (generation, _) = first.lead().await;
    let leader = first.leader().await.expect("a leader");
    first.keeper.stop().await;
    while first.news.changed().await.is_ok() {}

    let session = leader.session.expect("a session");
    let adopt = Adopted { session, created: leader.created.clone(), generation, ttl: Some(TTL) };
    let mut second = fixture.member("a", Some(adopt));
    let lease = second.until("the lock", |lease| lease.lock.is_some()).await;
    assert_eq!(lease.lock.map(|lock| (lock.generation, lock.created)), Some((generation, leader.created)));
    assert!(second.keeper.valid_until() > boot_now());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_deleted_is_lost_and_the_server_closed() {
    let Some(fixture) = Fixture::new() else { return };
    let mut a = fixture.member("a", None);
    a.lead().await;
    let leader = a.leader().await.expect("a leader");
    a.dcs.release(&leader.created, None, LIMIT).await.expect("an operator deletes the key");
    let lease = a.until("the loss", |lease| lease.lock.is_none()).await;
    assert_eq!(lease.lost.as_deref(), Some("the leader key is gone from the store"));
    assert_eq!(a.keeper.valid_until(), Tick::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_every_command_is_answered_at_its_deadline() {
    let (_, page) = watch::channel(None);
    let options = Etcd3Options::plain(vec!["http://127.0.0.1:1".into()], "/service/herd", "a");
    let dcs: Arc<dyn Dcs> = Arc::new(Etcd3::new(options).expect("a client"));
    let name = MemberName::from("a");
    let (keeper, _news) =
        spawn(Options { name, dcs, page, ttl: TTL, adopt: None, watchdog: Default::default() }).expect("a keeper");
    let answer = timeout(PATIENCE, keeper.acquire(Expect::free(), Duration::from_millis(300))).await;
    assert!(matches!(answer.expect("in time"), Err(Failure::Unreachable(_))));
    keeper.stop().await;
    let answer = timeout(PATIENCE, keeper.acquire(Expect::free(), Duration::from_millis(300))).await;
    assert!(matches!(answer.expect("in time"), Err(Failure::Failed(_))));
}
