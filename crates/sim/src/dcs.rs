//! The way to the store and back: requests, their answers, watches, expiry.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jogi_core::Tick;
use jogi_core::ha::EffectId;
use jogi_core::view::{Cluster, Leader};

use crate::agent::ToAgent;
use crate::clock::Moment;
use crate::net::{HostId, Node};
use crate::store::{Answer, Health, Request};
use crate::trace::Topic;
use crate::weakness::Weakness;
use crate::world::{Happening, Host, World};

/// One request on its way.
#[derive(Clone, Debug)]
pub struct StoreCall {
    pub host: HostId,
    pub incarnation: u64,
    pub request: Request,
    pub for_: Purpose,
    /// The caller's boot clock when it was sent.
    pub sent: Tick,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Effect(EffectId),
    Keeper(u64),
    Watch,
}

/// One agent's watch on the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    pub connected: bool,
    /// An outage has been reported.
    pub lost: bool,
    /// Something was not delivered.
    pub missed: bool,
}

/// What the store has shown lately, and since when: for servers of it that lag.
#[derive(Debug, Default)]
pub struct Past(VecDeque<(Moment, Arc<Cluster>)>);

impl Past {
    fn remember(&mut self, now: Moment, view: &Arc<Cluster>) {
        self.0.push_back((now, view.clone()));
        while self.0.get(1).is_some_and(|(since, _)| now.since(*since) > LAGS_AT_MOST) {
            self.0.pop_front();
        }
    }

    /// What it showed so long ago: nothing, before anything was written.
    fn ago(&self, now: Moment, lag: Duration) -> Arc<Cluster> {
        let shown = self.0.iter().rev().find(|(since, _)| now.since(*since) >= lag);
        shown.map(|(_, view)| view.clone()).unwrap_or_default()
    }
}

/// No server of the store is further behind than this.
const LAGS_AT_MOST: Duration = Duration::from_secs(30);
/// How often a watch makes sure that its connection lives, and tries again when it does not.
const WATCH_CHECK: Duration = Duration::from_secs(1);
const WATCH_TRIES: Duration = Duration::from_secs(1);

impl World {
    pub fn call_store(&mut self, host: HostId, request: Request, for_: Purpose) {
        let (incarnation, sent) = (self.hosts[host].incarnation, self.boot(host));
        if let Some(delay) = self.net.send(Node::Host(host), Node::Store, &mut self.rng) {
            let call = StoreCall { host, incarnation, request, for_, sent };
            self.schedule(delay, Happening::StoreArrives(Box::new(call)));
        }
    }

    pub fn store_serves(&mut self, call: StoreCall) {
        let StoreCall { host, incarnation, for_, sent, request } = call;
        // Only a trace and a weakened world look at the request once it has been served.
        let looked_at = self.trace.wants(Topic::Store) || !self.weakness.is_empty();
        let kept = looked_at.then(|| request.clone());
        let World { store, rng, now, .. } = self;
        let mut answer = store.serve(request, *now, rng);
        self.schedule_expiry();
        if let (Purpose::Watch, Some(Answer::Loaded(view))) = (for_, &mut answer) {
            self.as_watched_by(host, view);
        }
        let answer = match &kept {
            Some(request) => answer.map(|answer| self.as_weakened(host, request, answer)),
            None => answer,
        };
        if let Some(request) = kept {
            self.say(Topic::Store, host, || format!("store: {request:?} -> {answer:?}"));
        }
        let Some(answer) = answer else { return };
        if let Some(delay) = self.net.send(Node::Store, Node::Host(host), &mut self.rng) {
            let what = ToAgent::StoreAnswered { for_, sent, answer: Box::new(answer) };
            self.schedule(delay, Happening::Agent { host, incarnation, what });
        }
    }

    /// An error that counts as a renewal, where nothing protects from that.
    fn as_weakened(&self, host: HostId, request: &Request, answer: Answer) -> Answer {
        let counts = self.weakness.has(Weakness::Known(jogi_core::Weakness::CountErrors));
        let (Request::Beat { session, .. }, Answer::Error(_), true) = (request, &answer, counts) else { return answer };
        let Some(page) = &self.hosts[host].guard.page else { return answer };
        let leader = Leader {
            name: self.hosts[host].name.clone(),
            session: Some(session.clone()),
            created: page.created.clone(),
            revision: page.created.clone(),
        };
        Answer::Extended { leader: Some(leader) }
    }

    /// A watch begins with what its server has.
    fn as_watched_by(&mut self, host: HostId, view: &mut Arc<Cluster>) {
        let lag = self.hosts[host].store_lag;
        if lag.is_zero() {
            return;
        }
        let shown = self.past.ago(self.now, lag);
        self.counts.stale_reads += u64::from(shown != *view);
        *view = shown;
    }

    pub fn schedule_expiry(&mut self) {
        let Some(at) = self.store.next_expiry() else { return };
        if self.expiry_at.is_none_or(|scheduled| at < scheduled) {
            self.expiry_at = Some(at);
            self.schedule_at(at, Happening::StoreExpiry);
        }
    }

    /// Tells the watchers when the store has changed since they were told last.
    pub fn store_changed(&mut self) {
        if self.store.revision() == self.watched_revision {
            return;
        }
        self.watched_revision = self.store.revision();
        let leader = self.store.leader().map(str::to_owned);
        if leader != self.last_leader {
            self.announce(Topic::Lock, || match &leader {
                Some(name) => format!("the leader key is {name}'s"),
                None => "the leader key is gone".to_owned(),
            });
            self.counts.leader_changes += u64::from(leader.is_some() && leader != self.last_holder);
            self.last_holder = leader.clone().or(self.last_holder.take());
            self.last_leader = leader;
        }
        let view = self.store.view();
        self.past.remember(self.now, &view);
        for host in 0..self.hosts.len() {
            self.notify(host, view.clone());
        }
    }

    fn notify(&mut self, host: HostId, view: Arc<Cluster>) {
        let Host { incarnation, store_lag, .. } = self.hosts[host];
        let Some(agent) = self.hosts[host].agent.as_mut().filter(|a| a.watch.connected) else { return };
        let delay = match self.store.health {
            Health::Well => self.net.send(Node::Store, Node::Host(host), &mut self.rng),
            Health::Down | Health::Failing(_) | Health::AppliesAndFails(_) => None,
        };
        match delay {
            None => agent.watch.missed = true,
            Some(delay) => {
                // One stream: a later change never overtakes an earlier one.
                let at = (self.now + delay + store_lag).max(agent.last_watch_arrival);
                agent.last_watch_arrival = at;
                self.schedule_at(at, Happening::Agent { host, incarnation, what: ToAgent::Watched(view) });
            }
        }
    }

    /// The watch of this agent looks after its connection.
    pub fn check_watch(&mut self, host: HostId) {
        let incarnation = self.hosts[host].incarnation;
        let open = self.net.connected(Node::Host(host), Node::Store) && self.store.health == Health::Well;
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        let mut watch = agent.watch;
        let mut wait = WATCH_CHECK;
        if watch.connected && open && watch.missed {
            watch.missed = false;
            let view = self.store.view();
            agent.watch = watch;
            self.notify(host, view);
        } else if watch.connected && !open {
            watch = Watch { connected: false, lost: true, missed: false };
            agent.watch = watch;
            let what = ToAgent::Core(Box::new(jogi_core::ha::Event::StoreLost(
                "the watch broke: no answer from the store".to_owned(),
            )));
            self.schedule(Duration::ZERO, Happening::Agent { host, incarnation, what });
        } else if !watch.connected {
            wait = WATCH_TRIES;
            self.call_store(host, Request::Load, Purpose::Watch);
        }
        self.schedule(wait, Happening::Agent { host, incarnation, what: ToAgent::CheckWatch });
    }

    /// The answer to the watch's own reading.
    pub fn watch_read(&mut self, host: HostId, sent: Tick, answer: Answer) {
        let Some(agent) = self.hosts[host].agent.as_mut() else { return };
        match answer {
            Answer::Loaded(cluster) => {
                agent.watch = Watch { connected: true, lost: false, missed: self.store.view() != cluster };
                let event = jogi_core::ha::Event::View { cluster, read_at: sent, linearizable: false };
                self.core_hears(host, event);
            }
            Answer::Error(why) if !agent.watch.lost => {
                agent.watch.lost = true;
                self.core_hears(host, jogi_core::ha::Event::StoreLost(why));
            }
            Answer::Error(_)
            | Answer::Opened(_)
            | Answer::Extended { .. }
            | Answer::Closed
            | Answer::Acquired { .. }
            | Answer::Released(_)
            | Answer::Wrote(_)
            | Answer::Conflict
            | Answer::SessionGone => {}
        }
    }
}
