//! The model of the store against etcd: random sequences of what a herd asks (sessions opened, extended, closed and left
//! to expire; the lock taken, moved and released; conditional writes; readings) get the same answers, revisions in the
//! same order, and the same views by the same watch.
//!
//! It goes through the agent's own client, so what is compared is what the core sees. `JOGI_MODEL_STORE=from..to` runs
//! other sequences than usual.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jogi_core::view::{Cluster, Condition, Expect, Key, Revision, Session, Write, Written};
use jogi_dcs::{Acquired, Beat, Dcs, Etcd3, Etcd3Options, Freshness, LeaderKey, WatchEvent};
use jogi_sim::clock::Moment;
use jogi_sim::rng::Rng;
use jogi_sim::store::{Answer, Request, Store};
use jogi_testkit::etcd::Etcd;
use jogi_testkit::require::{self, Need};
use tokio::sync::mpsc::Receiver;

/// On every run.
const USUAL: (u64, u64) = (0, 40);
const STEPS: u64 = 40;
const SOON: Duration = Duration::from_secs(20);
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Of a session that outlives the sequence, and of one that is left to expire.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(2);

fn range() -> (u64, u64) {
    let Ok(text) = std::env::var("JOGI_MODEL_STORE") else { return USUAL };
    let (from, to) = text.split_once("..").expect("JOGI_MODEL_STORE=FROM..TO");
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

#[derive(Debug, Default)]
struct Counts {
    steps: u64,
    conflicts: u64,
    sessions_gone: u64,
    acquired: u64,
    expired: u64,
    views: u64,
}

#[test]
fn the_model_does_what_etcd_does() {
    if !require::can(&[Need::Program("etcd")]) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let etcd = Etcd::start();
    let began = Instant::now();
    let (from, to) = range();
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    for seed in from..to {
        let mut pair = Pair::new(seed, &etcd);
        if let Err(why) = runtime.block_on(pair.run(&mut counts)) {
            failures.push(format!("sequence {seed}:\n  {}\n{why}", pair.story.join("\n  ")));
        }
    }
    println!("{} sequences in {:.0} s: {counts:?}", to - from, began.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{} of {} sequences differ:\n\n{}", failures.len(), to - from, failures.join("\n\n"));
    for (what, count) in [
        ("conflicts", counts.conflicts),
        ("sessions that had gone", counts.sessions_gone),
        ("locks taken", counts.acquired),
        ("sessions that expired", counts.expired),
    ] {
        assert!(count > 0, "{what}: nothing of that kind happened, so nothing was compared");
    }
}

/// A session in both worlds.
#[derive(Clone, Debug)]
struct Known {
    model: Session,
    real: Session,
}

struct Pair<'a> {
    rng: Rng,
    model: Store,
    now: Moment,
    etcd: &'a Etcd,
    clients: Vec<Arc<dyn Dcs>>,
    /// A revision of etcd is the model's and so much more.
    offset: u64,
    sessions: Vec<Known>,
    /// Incarnations of the leader key, in the model's numbers, and whose they were.
    incarnations: Vec<(Revision, usize)>,
    /// The views that the watch has not brought yet, from the last that it has brought.
    views: Vec<Arc<Cluster>>,
    story: Vec<String>,
}

impl<'a> Pair<'a> {
    fn new(seed: u64, etcd: &'a Etcd) -> Pair<'a> {
        let client = |name: &&str| -> Arc<dyn Dcs> {
            let options = Etcd3Options::plain(etcd.urls(), format!("/service/model{seed}"), *name);
            Arc::new(Etcd3::new(options).expect("a client"))
        };
        Pair {
            rng: Rng::new(seed.wrapping_mul(0x9E6C_63D0_876A_3F6B)),
            model: Store::default(),
            now: Moment(0),
            etcd,
            clients: NAMES.iter().map(client).collect(),
            offset: u64::try_from(etcd.revision(0)).expect("a revision"),
            sessions: Vec::new(),
            incarnations: Vec::new(),
            views: vec![Arc::default()],
            story: Vec::new(),
        }
    }

    async fn run(&mut self, counts: &mut Counts) -> Result<(), String> {
        let mut watch = Arc::clone(&self.clients[0]).watch();
        let expires = self.rng.one_in(4).then(|| self.rng.range(0, STEPS));
        for step in 0..STEPS {
            counts.steps += 1;
            if expires == Some(step) {
                self.expire(counts).await?;
            } else {
                self.one(counts).await?;
            }
            let (is, wanted) = (self.etcd.revision(0), self.model.revision() + self.offset);
            if u64::try_from(is) != Ok(wanted) {
                return Err(format!("etcd's revision is {is}, the model's would be {wanted}"));
            }
            self.watched(&mut watch, counts).await?;
        }
        Ok(())
    }

    // ---- what is asked

    async fn one(&mut self, counts: &mut Counts) -> Result<(), String> {
        let client = self.rng.range(0, NAMES.len() as u64) as usize;
        let choice = self.rng.range(0, 100);
        if choice < 10 || self.sessions.is_empty() {
            return self.open(client, LONG).await.map(|_| ());
        }
        let known = self.rng.pick(&self.sessions).expect("there are some").clone();
        match choice {
            0..20 => self.beat(client, &known, counts).await,
            20..24 => self.close(client, &known).await,
            24..42 => {
                let expect = self.expect();
                self.acquire(client, &known, expect, counts).await
            }
            42..48 => self.reattach(&known, counts).await,
            48..56 => self.release().await,
            56..92 => {
                let write = self.write(client, &known);
                self.do_write(client, write, &known, counts).await
            }
            _ => self.load(client).await,
        }
    }

    fn ask(&mut self, request: Request) -> Answer {
        self.story.push(format!("{request:?}"));
        let answer = self.model.serve(request, self.now, &mut self.rng).expect("the model answers");
        self.note_view();
        answer
    }

    fn note_view(&mut self) {
        let view = self.model.view();
        if self.views.last() != Some(&view) {
            self.views.push(view);
        }
    }

    async fn open(&mut self, client: usize, ttl: Duration) -> Result<Known, String> {
        let Answer::Opened(model) = self.ask(Request::OpenSession { ttl }) else { return Err("not opened".into()) };
        let real = self.clients[client].open_session(ttl, SOON).await.map_err(|e| e.to_string())?;
        let known = Known { model, real };
        self.sessions.push(known.clone());
        Ok(known)
    }

    async fn beat(&mut self, client: usize, known: &Known, counts: &mut Counts) -> Result<(), String> {
        let read_leader = self.rng.one_in(2);
        let model = self.ask(Request::Beat { session: known.model.clone(), read_leader });
        let real = self.clients[client].beat(&known.real, read_leader, SOON).await.map_err(|e| e.to_string())?;
        counts.sessions_gone += u64::from(real == Beat::SessionGone);
        let real = match real {
            Beat::SessionGone => Answer::SessionGone,
            Beat::Extended { leader } => {
                let leader = leader.map(|LeaderKey { name, session, created, revision }| jogi_core::view::Leader {
                    name,
                    session: session.map(|real| self.session_of(&real)),
                    created: self.revision_of(&created),
                    revision: self.revision_of(&revision),
                });
                Answer::Extended { leader }
            }
        };
        same(&model, &real)
    }

    async fn close(&mut self, client: usize, known: &Known) -> Result<(), String> {
        self.ask(Request::CloseSession { session: known.model.clone() });
        self.clients[client].close_session(&known.real, SOON).await.map_err(|e| e.to_string())
    }

    fn expect(&mut self) -> Expect {
        let free = Expect::free();
        if self.rng.one_in(2) {
            return free;
        }
        Expect {
            leader: if self.rng.one_in(2) { Condition::Absent } else { self.condition(&Key::Leader) },
            sync: self.condition(&Key::Sync),
            failover: self.condition(&Key::Failover),
            initialize: self.condition(&Key::Initialize),
        }
    }

    /// Mostly one that holds.
    fn condition(&mut self, key: &Key) -> Condition {
        let view = self.model.view();
        let revision = match key {
            Key::Initialize => view.initialize.as_ref().map(|k| &k.revision),
            Key::Leader => view.leader.as_ref().map(|k| &k.revision),
            Key::Failover => view.failover.as_ref().map(|k| &k.revision),
            Key::Config => view.config.as_ref().map(|k| &k.revision),
            Key::Sync => view.sync.revision.as_ref(),
            Key::Member(name) => view.members.get(name).map(|k| &k.revision),
            Key::History => view.history.as_ref().map(|k| &k.revision),
            Key::Status | Key::LegacyOptime | Key::Failsafe => None,
        };
        match self.rng.range(0, 8) {
            0..3 => Condition::Always,
            3..7 => Condition::as_read(revision),
            _ => Condition::Unchanged(Revision(self.rng.range(1, self.model.revision() + 2).to_string().into())),
        }
    }

    async fn acquire(
        &mut self,
        client: usize,
        known: &Known,
        expect: Expect,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let (session, name) = (known.model.clone(), NAMES[client].into());
        let model = self.ask(Request::Acquire { session, name, expect: expect.clone() });
        let expect = Expect {
            leader: self.real_condition(expect.leader),
            sync: self.real_condition(expect.sync),
            failover: self.real_condition(expect.failover),
            initialize: self.real_condition(expect.initialize),
        };
        let real = self.clients[client].acquire(&known.real, &expect, SOON).await.map_err(|e| e.to_string())?;
        self.same_acquired(client, &model, real, counts)
    }

    fn same_acquired(
        &mut self,
        client: usize,
        model: &Answer,
        real: Acquired,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let real = match real {
            Acquired::Yes { created, revision } => {
                counts.acquired += 1;
                let created = self.revision_of(&created);
                self.incarnations.push((created.clone(), client));
                Answer::Acquired { created, revision: self.revision_of(&revision) }
            }
            Acquired::Conflict => {
                counts.conflicts += 1;
                Answer::Conflict
            }
            Acquired::SessionGone => {
                counts.sessions_gone += 1;
                Answer::SessionGone
            }
        };
        same(model, &real)
    }

    async fn reattach(&mut self, known: &Known, counts: &mut Counts) -> Result<(), String> {
        let Some((created, client)) = self.rng.pick(&self.incarnations).cloned() else { return Ok(()) };
        let (session, name) = (known.model.clone(), NAMES[client].into());
        let model = self.ask(Request::Reattach { session, name, created: created.clone() });
        let created = self.real_revision(&created);
        let real = self.clients[client].reattach(&known.real, &created, SOON).await.map_err(|e| e.to_string())?;
        self.same_acquired(client, &model, real, counts)
    }

    async fn release(&mut self) -> Result<(), String> {
        let Some((created, client)) = self.rng.pick(&self.incarnations).cloned() else { return Ok(()) };
        let status = self.rng.one_in(2).then(|| format!(r#"{{"optime":{}}}"#, self.rng.range(1, 1000)));
        let model =
            self.ask(Request::Release { name: NAMES[client].into(), created: created.clone(), status: status.clone() });
        let created = self.real_revision(&created);
        let real = self.clients[client].release(&created, status.as_deref(), SOON).await.map_err(|e| e.to_string())?;
        same(&model, &Answer::Released(real))
    }

    fn write(&mut self, client: usize, known: &Known) -> Write {
        let number = self.rng.range(1, 1000);
        let (key, value) = match self.rng.range(0, 10) {
            0 => (Key::Initialize, format!("76123456789012{number:05}")),
            1 => (Key::Config, format!(r#"{{"ttl":{number}}}"#)),
            2 => (Key::Status, format!(r#"{{"optime":{number}}}"#)),
            3 => (Key::LegacyOptime, number.to_string()),
            4 => (Key::Failover, format!(r#"{{"leader":"a","member":"b{number}"}}"#)),
            5 => (Key::Sync, format!(r#"{{"leader":"a","sync_standby":"b{number}"}}"#)),
            6 => (Key::History, format!(r#"[[{number},25623960,"no recovery target specified"]]"#)),
            7 => (Key::Failsafe, format!(r#"{{"a":"http://10.0.0.1:{number}/patroni"}}"#)),
            _ => (Key::Member(NAMES[client].into()), format!(r#"{{"state":"running","xlog_location":{number}}}"#)),
        };
        let mut write = if self.rng.one_in(5) { Write::delete(key.clone()) } else { Write::put(key.clone(), value) };
        write = write.when(self.condition(&key));
        if write.value.is_some() && matches!(key, Key::Member(_)) {
            write = write.on_session(&known.model);
        }
        let last =
            self.incarnations.iter().rev().find(|(_, whose)| *whose == client).map(|(created, _)| created.clone());
        // The model is not told who writes: of an incarnation that another's name has been written over, it cannot know.
        let overwritten = |created: &Revision| {
            let view = self.model.view();
            view.leader.as_ref().is_some_and(|l| l.created == *created && l.name.as_str() != NAMES[client])
        };
        let last = last.filter(|created| !overwritten(created));
        if let Some(created) = last.filter(|_| self.rng.one_in(5)) {
            write = write.while_leader(&created);
        }
        write
    }

    async fn do_write(
        &mut self,
        client: usize,
        write: Write,
        known: &Known,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let model = self.ask(Request::Write(write.clone()));
        let write = Write {
            condition: self.real_condition(write.condition),
            session: write.session.map(|_| known.real.clone()),
            only_while_leader: write.only_while_leader.map(|created| self.real_revision(&created)),
            ..write
        };
        let real = self.clients[client].write(&write, SOON).await.map_err(|e| e.to_string())?;
        let real = match real {
            Written::Done { revision } => Written::Done { revision: self.revision_of(&revision) },
            Written::Conflict => {
                counts.conflicts += 1;
                Written::Conflict
            }
            Written::SessionGone => {
                counts.sessions_gone += 1;
                Written::SessionGone
            }
        };
        same(&model, &Answer::Wrote(real))
    }

    async fn load(&mut self, client: usize) -> Result<(), String> {
        let Answer::Loaded(model) = self.ask(Request::Load) else { return Err("not loaded".into()) };
        let freshness = if self.rng.one_in(2) { Freshness::Linearizable } else { Freshness::Any };
        let real = self.clients[client].load(freshness, SOON).await.map_err(|e| e.to_string())?;
        same(&*model, &self.as_the_models(&real.cluster))
    }

    /// A session is opened, keys are bound to it, and nobody extends it.
    async fn expire(&mut self, counts: &mut Counts) -> Result<(), String> {
        let client = self.rng.range(0, NAMES.len() as u64) as usize;
        let before = Instant::now();
        let known = self.open(client, SHORT).await?;
        self.acquire(client, &known, Expect::free(), counts).await?;
        let member = Key::Member(NAMES[client].into());
        let write = Write::put(member.clone(), "{}").on_session(&known.model);
        self.do_write(client, write, &known, counts).await?;
        let name = jogi_core::MemberName::from(NAMES[client]);
        loop {
            let real = self.clients[client].load(Freshness::Linearizable, SOON).await.map_err(|e| e.to_string())?;
            let bound = real.cluster.members.get(&name).and_then(|m| m.session.as_ref()) == Some(&known.real);
            if !bound {
                break;
            }
            if before.elapsed() > SOON {
                return Err(format!("a session of {SHORT:?} lives on after {:?}", before.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if before.elapsed() < SHORT {
            return Err(format!("a session of {SHORT:?} has ended after {:?}", before.elapsed()));
        }
        self.story.push("(the session expires)".to_owned());
        counts.expired += 1;
        self.model.expire(self.now + SHORT - Duration::from_nanos(1));
        if self.model.view().members.get(&name).and_then(|m| m.session.as_ref()) != Some(&known.model) {
            return Err("the model's session has ended too early".to_owned());
        }
        self.now = self.now + SHORT + Duration::from_millis(500);
        self.model.expire(self.now);
        self.note_view();
        Ok(())
    }

    // ---- the two worlds' names for the same

    fn revision_of(&self, real: &Revision) -> Revision {
        let number: u64 = real.0.parse().expect("etcd's revisions are numbers");
        Revision(
            number.checked_sub(self.offset).map_or_else(|| format!("before us: {number}"), |n| n.to_string()).into(),
        )
    }

    fn real_revision(&self, model: &Revision) -> Revision {
        let number: u64 = model.0.parse().expect("the model's revisions are numbers");
        Revision((number + self.offset).to_string().into())
    }

    fn real_condition(&self, condition: Condition) -> Condition {
        match condition {
            Condition::Unchanged(revision) => Condition::Unchanged(self.real_revision(&revision)),
            Condition::Always | Condition::Absent => condition,
        }
    }

    fn session_of(&self, real: &Session) -> Session {
        let known = self.sessions.iter().find(|known| known.real == *real);
        known.map_or_else(|| Session(format!("unknown: {}", real.0).into()), |known| known.model.clone())
    }

    /// A real reading with the model's revisions and sessions in it.
    fn as_the_models(&self, real: &Cluster) -> Cluster {
        let mut cluster = real.clone();
        let revision = |revision: &mut Revision| *revision = self.revision_of(revision);
        cluster.initialize.iter_mut().for_each(|k| revision(&mut k.revision));
        cluster.config.iter_mut().for_each(|k| revision(&mut k.revision));
        cluster.failover.iter_mut().for_each(|k| revision(&mut k.revision));
        cluster.history.iter_mut().for_each(|k| revision(&mut k.revision));
        cluster.sync.revision.iter_mut().for_each(revision);
        for member in cluster.members.values_mut() {
            revision(&mut member.revision);
            member.session = member.session.as_ref().map(|real| self.session_of(real));
        }
        if let Some(leader) = &mut cluster.leader {
            revision(&mut leader.revision);
            revision(&mut leader.created);
            leader.session = leader.session.as_ref().map(|real| self.session_of(real));
        }
        cluster
    }

    /// The watch brings the newest view, and on the way only views that there have been, in their order.
    async fn watched(&mut self, watch: &mut Receiver<WatchEvent>, counts: &mut Counts) -> Result<(), String> {
        while self.views.len() > 1 {
            let next = tokio::time::timeout(SOON, watch.recv()).await;
            let event = next.map_err(|_| format!("the watch does not bring {:?}", self.views.last()))?;
            let WatchEvent::View(view) = event.ok_or("the watch has ended")? else {
                return Err("the watch broke".to_owned());
            };
            counts.views += 1;
            let seen = self.as_the_models(&view.cluster);
            let place = self.views.iter().rposition(|view| **view == seen);
            let place = place.ok_or_else(|| format!("no such view has been, or it comes again: {seen:?}"))?;
            self.views.drain(..place);
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(model: &T, real: &T) -> Result<(), String> {
    if model == real { Ok(()) } else { Err(format!("  model {model:?}\n  etcd  {real:?}")) }
}
