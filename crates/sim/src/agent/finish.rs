//! The end of each effect: what it changed, and its outcome.

use std::sync::Arc;

use jogi_core::ha::server::DataDir;
use jogi_core::ha::{
    Act, Aside, Effect, EffectId, Event, Failure, Generation, Intent, LaunchAs, Lineage, Mode, Outcome, Setup,
    Upstream, Yield,
};
use jogi_core::view::Written;
use jogi_core::{Lsn, Tick, Timeline};

use super::Requester;
use super::slots;
use crate::net::HostId;
use crate::peers::document_of_reply;
use crate::postgres::data::{Data, Dir, HalfMade, Making};
use crate::postgres::rewind::{Rewound, base_backup, rewind, single_user};
use crate::postgres::{NO_SPACE, Phase};
use crate::store;
use crate::trace::Topic;
use crate::weakness::Weakness;
use crate::world::World;

impl World {
    /// Work that a thread of the agent does is at its end.
    pub(crate) fn finish_work(&mut self, host: HostId, id: EffectId) {
        let Some(work) = self.work(host, id) else { return };
        let effect = Arc::clone(&work.effect);
        if let Some(outcome) = self.carry_out(host, &effect.act) {
            self.done(host, id, outcome);
        }
    }

    /// `None`: the agent has ended.
    fn carry_out(&mut self, host: HostId, act: &Act) -> Option<Outcome> {
        Some(match act {
            Act::Look => {
                // A running server without a guard is put into the charge of a new one.
                if self.hosts[host].pg.running.is_some() {
                    self.start_guard(host);
                }
                Ok(Yield::Looked(Box::new(self.observe(host))))
            }
            Act::Compare { upstream } => self.compare(host, upstream),
            Act::FindEndOfWal => self.end_of_wal(host),
            Act::ReadHistory { timeline } => self.read_history(host, *timeline),
            Act::ReserveTimelines { .. } if self.weakness.has(Weakness::NoReserve) => Ok(Yield::Done),
            Act::ReserveTimelines { above, up_to } => match self.hosts[host].pg.data_mut() {
                Some(data) => {
                    data.reserve(*above, *up_to);
                    Ok(Yield::Done)
                }
                None => Err(Failure::Failed("there is no pg_wal to write a history file into".to_owned())),
            },
            Act::Intend { .. } | Act::Configure { .. } if self.hosts[host].pg.disk_full => {
                Err(Failure::Failed(format!("cannot write a file: {NO_SPACE}")))
            }
            Act::Intend { intent } => {
                if !self.weakness.has(Weakness::NoIntent) {
                    self.hosts[host].intent = Some((intent.clone(), self.hosts[host].incarnation));
                }
                Ok(Yield::Done)
            }
            Act::Settle => {
                self.hosts[host].intent = None;
                Ok(Yield::Done)
            }
            Act::Configure { setup } => self.configure(host, setup),
            Act::Reload => self.reload(host),
            Act::SyncNames { setup } => self.sync_names(host, setup),
            Act::Signal { stop } => self.signal(host, *stop),
            Act::Arm { armed } => self.arm(host, *armed),
            Act::OpenWatchdog { .. } | Act::TryWatchdog if self.hosts[host].quirks.watchdog_fails => {
                Err(Failure::Failed("the watchdog /dev/watchdog cannot be used: no such device".to_owned()))
            }
            Act::OpenWatchdog { .. } | Act::CloseWatchdog | Act::TryWatchdog => Ok(Yield::Done),
            Act::PostBootstrap => self.post_bootstrap(host),
            Act::PutAside { suffix } => self.put_aside(host, *suffix),
            Act::RemoveCopies { keep_diverged } => self.remove_copies(host, *keep_diverged),
            Act::Checkpoint => {
                let World { hosts, wal, .. } = self;
                let result = hosts[host].pg.checkpoint(wal).map(|()| Yield::Done).map_err(Failure::Failed);
                self.wal_grew(host);
                result
            }
            Act::ResumeReplay => {
                self.hosts[host].quirks.replay_paused = false;
                self.when_answering(host, |_| {})
            }
            Act::Slots { plan } => {
                let end = self.hosts[host].pg.data().map(|data| self.wal.end(data.tip)).unwrap_or_default();
                self.when_answering(host, |data| slots::change(data, plan, end))
            }
            Act::LogicalSlots { plan } => self.work_on_logical(host, plan),
            Act::AskHorizon { from, slots } => self.horizon(host, from, slots),
            Act::FetchSlots { from, slots } => self.fetch_slots(host, from, slots),
            Act::InstallSlots { slots } => self.install_slots(host, slots),
            Act::Callback { .. } | Act::Cancel { .. } => Ok(Yield::Done),
            Act::SaveDynamic { config } => {
                self.hosts[host].dynamic = Some((**config).clone());
                Ok(Yield::Done)
            }
            Act::Reply { request, reply } => {
                self.deliver_reply(host, *request, reply.clone());
                Ok(Yield::Done)
            }
            Act::Exit { code, why } => {
                self.say(Topic::Decision, host, || format!("agent exits with {code}: {why}"));
                self.end_agent(host);
                return None;
            }
            other @ (Act::Acquire { .. }
            | Act::Release { .. }
            | Act::ReleaseStale { .. }
            | Act::Load
            | Act::Write(_)
            | Act::Ask { .. }
            | Act::AskFailsafe { .. }
            | Act::Launch { .. }
            | Act::Fence { .. }
            | Act::Promote { .. }
            | Act::Initdb
            | Act::Clone { .. }
            | Act::SingleUser
            | Act::Rewind { .. }
            | Act::ArchivePending
            | Act::ArchiveShutdown
            | Act::Script { .. }) => Err(Failure::Failed(format!("{} is not done by a thread", other.name()))),
        })
    }

    fn deliver_reply(&mut self, host: HostId, request: jogi_core::ha::RequestId, reply: jogi_core::ha::Reply) {
        let requester = self.hosts[host].agent.as_mut().and_then(|a| a.requests.remove(&request));
        match requester {
            Some(Requester::Operator) => {
                self.say(Topic::Reply, host, || format!("answers {} {}", reply.status, reply.text));
                self.replies.push((host, reply));
            }
            Some(Requester::Member { host: asker, incarnation, effect }) => {
                let position = self.hosts[host].pg.data().map_or(Lsn::INVALID, |d| self.wal.end(d.tip));
                let document = document_of_reply(&reply, position);
                self.answer_peer(host, asker, incarnation, effect, Ok(Yield::Answered(document)));
            }
            None => {}
        }
    }

    pub(super) fn when_answering(&mut self, host: HostId, change: impl FnOnce(&mut Data)) -> Outcome {
        let pg = &mut self.hosts[host].pg;
        if !pg.answers() {
            return Err(Failure::Failed("the server does not answer".to_owned()));
        }
        if let Some(data) = pg.data_mut() {
            change(data);
        }
        Ok(Yield::Done)
    }

    fn compare(&mut self, host: HostId, upstream: &Upstream) -> Outcome {
        let source = self.host_of(upstream);
        let Some(source) = source.filter(|source| self.serves_copies(host, *source)) else {
            return Err(Failure::Unreachable(format!("cannot connect to PostgreSQL on {}", upstream.host)));
        };
        let pg = &self.hosts[source].pg;
        let Some(data) = pg.data() else { return Err(Failure::Unreachable("no server".to_owned())) };
        Ok(Yield::Lineage(Lineage {
            system_identifier: Some(data.system_identifier()),
            timeline: Some(self.wal.timeline(data.tip)),
            history: self.wal.history(data.tip),
            modified: None,
            in_recovery: Some(pg.phase() != Some(Phase::Primary)),
            position: self.wal.end(data.tip),
            checkpointed: Some(self.wal.timeline(data.checkpoint)),
        }))
    }

    fn end_of_wal(&mut self, host: HostId) -> Outcome {
        match self.hosts[host].pg.dir.readable() {
            Some(data) => Ok(Yield::EndOfWal {
                timeline: self.wal.timeline(data.tip),
                end: self.wal.end(data.tip),
                complete: true,
            }),
            None => Err(Failure::Failed("there is no data directory to read WAL from".to_owned())),
        }
    }

    fn read_history(&mut self, host: HostId, timeline: Timeline) -> Outcome {
        let data = self.hosts[host].pg.data();
        match data.and_then(|d| d.histories.get(&timeline)) {
            Some(history) => Ok(Yield::Lineage(Lineage {
                timeline: Some(timeline),
                history: history.clone(),
                modified: Some("2026-01-01T00:00:00+00:00".to_owned()),
                ..Lineage::default()
            })),
            None => Err(Failure::Failed(format!("pg_wal has no history file of timeline {timeline}"))),
        }
    }

    /// The files are compared with what a running server has in force, which only it can tell.
    fn configure(&mut self, host: HostId, setup: &Setup) -> Outcome {
        let pg = &self.hosts[host].pg;
        if pg.running.is_some() && !pg.answers() {
            return Err(Failure::Failed("cannot read the settings that the running server has in force".to_owned()));
        }
        let phase = pg.phase();
        let name = self.hosts[host].name.clone();
        let remotes = self.remotes_of(&setup.mode);
        let Some(data) = self.hosts[host].pg.dir.readable_mut() else {
            return Err(Failure::Failed("there is no data directory to write files into".to_owned()));
        };
        let before = (data.standby_signal, data.upstream.clone(), data.remotes.clone(), data.slot.clone());
        let names_before = data.synchronous_standby_names.clone();
        write_files(data, setup, remotes);
        data.upstream.take_if(|upstream| *upstream == name);
        let unchanged = before == (data.standby_signal, data.upstream.clone(), data.remotes.clone(), data.slot.clone())
            && names_before == data.synchronous_standby_names;
        let in_recovery = match phase {
            None => None,
            Some(Phase::Primary | Phase::ClosingClients { writable: true }) => Some(false),
            Some(_) => Some(true),
        };
        let restart = in_recovery.is_some_and(|in_recovery| in_recovery != data.standby_signal);
        Ok(Yield::Configured { restart, unchanged })
    }

    /// The names are in the file and in force at one moment.
    fn sync_names(&mut self, host: HostId, setup: &Setup) -> Outcome {
        if self.hosts[host].pg.disk_full {
            return Err(Failure::Failed(format!("cannot write a file: {NO_SPACE}")));
        }
        let names = setup.synchronous_standby_names.clone().unwrap_or_default();
        self.hosts[host].pg.set_sync_names(&names).map_err(Failure::Failed)?;
        self.reload(host)
    }

    fn reload(&mut self, host: HostId) -> Outcome {
        if self.hosts[host].pg.running.is_none() {
            return Err(Failure::Failed("no server is running".to_owned()));
        }
        self.hosts[host].pg.reload();
        self.answer_waiters(host);
        self.look_at_streams(host);
        Ok(Yield::Done)
    }

    /// Outside the herd, whom these files name.
    fn remotes_of(&self, mode: &Mode) -> Vec<HostId> {
        match mode {
            Mode::Standby { upstream: Some(upstream) } if upstream.member.is_none() => self.remotes(upstream),
            Mode::Standby { .. } | Mode::Primary => Vec::new(),
        }
    }

    fn arm(&mut self, host: HostId, armed: Option<Generation>) -> Outcome {
        self.start_guard(host);
        let tick = self.boot(host);
        let guard = &mut self.hosts[host].guard;
        guard.armed = armed.is_some();
        let held = armed.map_or(Ok(()), |generation| guard.hold(generation.0, tick));
        self.guard_looks(host);
        held.map(|()| Yield::Done).map_err(Failure::Refused)
    }

    fn post_bootstrap(&mut self, host: HostId) -> Outcome {
        let World { hosts, wal, .. } = self;
        let pg = &mut hosts[host].pg;
        match pg.phase() {
            Some(Phase::Primary) if pg.answers() && pg.commit(wal, 400).is_some() => Ok(Yield::Done),
            Some(_) | None => Err(Failure::Failed("post_bootstrap: the server does not answer".to_owned())),
        }
    }

    fn put_aside(&mut self, host: HostId, suffix: Aside) -> Outcome {
        if !self.hosts[host].pg.is_gone() {
            let name = self.hosts[host].name.clone();
            self.checks.fail(self.now, "the data directory is changed under a server", format!("{name}: put-aside"));
        }
        self.say(Topic::Server, host, || format!("data directory put aside ({suffix:?})"));
        let machine = &mut self.hosts[host];
        let dir = std::mem::take(&mut machine.pg.dir);
        if !matches!(dir, Dir::Empty) {
            machine.aside.push(suffix);
            machine.put_aside += 1;
        }
        Ok(Yield::Done)
    }

    fn remove_copies(&mut self, host: HostId, keep_diverged: usize) -> Outcome {
        let machine = &mut self.hosts[host];
        if machine.pg.data().is_none() {
            return Err(Failure::Failed("the data directory is not whole any more".to_owned()));
        }
        let before = machine.aside.len();
        let diverged = machine.aside.iter().filter(|aside| **aside == Aside::Diverged).count();
        let mut surplus = diverged.saturating_sub(keep_diverged);
        machine.aside.retain(|aside| match aside {
            Aside::Failed => true,
            Aside::Old => false,
            Aside::Diverged => surplus.checked_sub(1).inspect(|left| surplus = *left).is_none(),
        });
        let removed = before - machine.aside.len();
        if removed > 0 {
            self.say(Topic::Server, host, || format!("copies removed: {removed}"));
        }
        Ok(Yield::Done)
    }

    // ---- what programs and the guard do

    /// A program of the agent, or a command to the guard, is at its end.
    pub fn program_ends(&mut self, host: HostId, incarnation: u64, effect: &Effect) {
        let lives = self.agent_lives(host, incarnation) && self.work(host, effect.id).is_some();
        let outcome = match self.guard_does(host, &effect.act) {
            Some(outcome) => outcome,
            None if lives => self.program_does(host, effect),
            None => None,
        };
        if let Some(outcome) = outcome.filter(|_| lives) {
            self.send_outcome(host, effect.id, outcome, std::time::Duration::ZERO);
        }
    }

    /// The guard does what it was told, whether or not who told it still lives. `None`: it is not for the guard.
    fn guard_does(&mut self, host: HostId, act: &Act) -> Option<Option<Outcome>> {
        if let Act::Launch { as_, setup } = act {
            return Some(Some(self.launch(host, *as_, setup)));
        }
        let Act::Promote { generation } = act else { return None };
        Some(self.promote(host, *generation))
    }

    /// A program dies with its agent, and leaves what it had done so far.
    fn program_does(&mut self, host: HostId, effect: &Effect) -> Option<Outcome> {
        let act = &effect.act;
        if let Act::Clone { source, .. } = act {
            return Some(self.clone_ends(host, effect, source.as_ref()));
        }
        if let Act::Rewind { source } = act {
            return Some(self.rewind_ends(host, effect, source));
        }
        if matches!(act, Act::ArchivePending | Act::ArchiveShutdown) {
            return Some(Ok(Yield::Archived { segments: 0 }));
        }
        if matches!(act, Act::Initdb) {
            return Some(self.initdb(host));
        }
        if matches!(act, Act::SingleUser) {
            return Some(self.single_user(host));
        }
        let fails = self.hosts[host].quirks.scripts_fail;
        let outcome = if fails { Err(Failure::Failed("the script ended with 1".to_owned())) } else { Ok(Yield::Done) };
        matches!(act, Act::Script { .. }).then_some(outcome)
    }

    fn launch(&mut self, host: HostId, as_: LaunchAs, setup: &Setup) -> Outcome {
        let tick = self.boot(host);
        self.start_guard(host);
        if let Err(refusal) = self.may_launch(host, as_, setup, tick) {
            return Err(Failure::Refused(refusal));
        }
        self.half_made_is_not_started(host);
        let started = self.clock_now(host).wall;
        let World { hosts, wal, rng, .. } = self;
        match hosts[host].pg.start(wal, started, rng) {
            Err(why) => Err(Failure::Failed(why)),
            Ok(pid) => {
                hosts[host].guard.launched(as_);
                self.counts.starts += 1;
                self.hosts[host].quirks.pending_restart = false;
                self.say(Topic::Server, host, || format!("postmaster started as {}", word(as_)));
                self.settle_postgres(host);
                self.guard_looks(host);
                Ok(Yield::Launched { pid })
            }
        }
    }

    fn may_launch(&mut self, host: HostId, as_: LaunchAs, setup: &Setup, tick: Tick) -> Result<(), String> {
        let all = self.weakness.has(Weakness::GuardPermitsAll);
        let unarmed = self.weakness.has(Weakness::PromoteUnarmed);
        let guard = &mut self.hosts[host].guard;
        match (as_, &setup.mode) {
            (LaunchAs::Primary { generation }, _) => {
                guard.armed |= !unarmed;
                if all { Ok(()) } else { guard.permit(generation.0, tick) }
            }
            (LaunchAs::Standby, Mode::Standby { .. }) | (LaunchAs::Bootstrap, _) => Ok(()),
            (LaunchAs::Standby, Mode::Primary) => {
                Err("the guard refuses: a standby without a signal file would come up writable".to_owned())
            }
        }
    }

    fn promote(&mut self, host: HostId, generation: Generation) -> Option<Outcome> {
        let tick = self.boot(host);
        let guard = &mut self.hosts[host].guard;
        if !guard.alive {
            return Some(Err(Failure::Failed("no guard is running".to_owned())));
        }
        let unarmed = self.weakness.has(Weakness::PromoteUnarmed);
        let was_armed = std::mem::replace(&mut guard.armed, true);
        let permit = guard.permit(generation.0, tick);
        guard.armed = was_armed || !unarmed;
        if let Err(refusal) = permit
            && !self.weakness.has(Weakness::GuardPermitsAll)
        {
            return Some(Err(Failure::Refused(refusal)));
        }
        let World { hosts, rng, .. } = self;
        match hosts[host].pg.promote(rng) {
            Err(why) => Some(Err(Failure::Failed(why))),
            Ok(news) => {
                hosts[host].guard.server_is(jogi_core::lease::Server::Primary { generation: Some(generation.0) });
                self.counts.promotions += 1;
                self.postgres_news(host, news);
                self.guard_looks(host);
                None
            }
        }
    }

    /// Promotions that have come to their end, one way or the other.
    pub fn promotions_end(&mut self, host: HostId) {
        let phase = self.hosts[host].pg.phase();
        let Some(agent) = self.hosts[host].agent.as_ref() else { return };
        let promoting = agent.works.values().filter(|w| matches!(w.effect.act, Act::Promote { .. }));
        let ids: Vec<EffectId> = promoting.map(|w| w.effect.id).collect();
        let outcome = match phase {
            Some(Phase::Primary) => Ok(Yield::Done),
            // The guard watches the startup process. After a crash of another process PostgreSQL ends that one and begins
            // recovery anew, with the promotion forgotten.
            Some(Phase::Recovering | Phase::Inconsistent) => Ok(Yield::Done),
            Some(Phase::Standby | Phase::Promoting) => return,
            Some(Phase::ClosingClients { .. } | Phase::WritingCheckpoint | Phase::Draining) | None => {
                Err(Failure::Failed("the server ended before recovery had".to_owned()))
            }
        };
        for id in ids {
            self.send_outcome(host, id, outcome.clone(), std::time::Duration::ZERO);
        }
    }

    fn initdb(&mut self, host: HostId) -> Outcome {
        if self.hosts[host].pg.disk_full {
            self.hosts[host].pg.dir = Dir::Empty;
            return Err(Failure::Failed(format!("initdb: could not write to file: {NO_SPACE}")));
        }
        self.counts.bootstraps += 1;
        let system = 7_400_000_000_000_000_000 + self.rng.range(0, 1_000_000_000_000);
        let World { hosts, wal, .. } = self;
        let data = Data::new(system, wal);
        match &hosts[host].pg.dir {
            Dir::HalfMade(HalfMade { by: Making::Initdb, .. }) => {
                hosts[host].pg.dir = Dir::Whole(data);
                self.systems.insert(system);
                Ok(Yield::Done)
            }
            Dir::Empty | Dir::Whole(_) | Dir::HalfMade(_) => {
                Err(Failure::Failed("initdb: the directory exists but is not empty".to_owned()))
            }
        }
    }

    /// The source has served from the beginning of the program to its end.
    fn source_lived(&self, host: HostId, effect: &Effect) -> Option<HostId> {
        let (source, server) = self.work(host, effect.id)?.began_with?;
        (self.serves_copies(host, source) && self.hosts[source].pg.server == server).then_some(source)
    }

    fn clone_ends(&mut self, host: HostId, effect: &Effect, source: Option<&Upstream>) -> Outcome {
        self.counts.clones += 1;
        let machine = &mut self.hosts[host];
        let ours = matches!(&machine.pg.dir, Dir::HalfMade(HalfMade { by: Making::Clone, .. }));
        if !ours {
            return Err(Failure::Failed("pg_basebackup: the directory exists but is not empty".to_owned()));
        }
        if machine.failing_clones > 0 || machine.pg.disk_full {
            machine.failing_clones = machine.failing_clones.saturating_sub(1);
            machine.pg.dir = Dir::Empty;
            return Err(Failure::Failed("pg_basebackup: could not receive data: no space left on device".to_owned()));
        }
        let lived = source.and_then(|_| self.source_lived(host, effect));
        let data = lived.and_then(|source| self.hosts[source].pg.data()).map(|data| base_backup(data, &self.wal));
        let half_source = lived.is_some_and(|source| matches!(self.hosts[source].pg.dir, Dir::HalfMade(_)));
        if half_source {
            let name = self.hosts[host].name.clone();
            self.checks.fail(self.now, "a half-made directory is offered", format!("{name} was cloned from one"));
        }
        match data {
            Some(data) => {
                self.hosts[host].pg.dir = Dir::Whole(Data { standby_signal: true, ..data });
                Ok(Yield::Done)
            }
            None => {
                self.hosts[host].pg.dir = Dir::Empty;
                Err(Failure::Failed("pg_basebackup: the connection to the source was lost".to_owned()))
            }
        }
    }

    fn half_made_is_not_started(&mut self, host: HostId) {
        let machine = &self.hosts[host];
        if let Dir::HalfMade(half) = &machine.pg.dir {
            let text = format!("{}: a server is started on what {:?} has half made", machine.name, half.by);
            self.checks.fail(self.now, "a half-made directory is started", text);
        }
    }

    fn single_user(&mut self, host: HostId) -> Outcome {
        self.half_made_is_not_started(host);
        let World { hosts, wal, .. } = self;
        match hosts[host].pg.data_mut() {
            // The agent takes the signal files away first: PostgreSQL refuses standby mode in a single-user server.
            Some(data) => {
                data.standby_signal = false;
                single_user(data, wal).map(|()| Yield::Done).map_err(Failure::Failed)
            }
            None => Err(Failure::Failed("postgres --single: no whole data directory".to_owned())),
        }
    }

    fn rewind_ends(&mut self, host: HostId, effect: &Effect, source: &Upstream) -> Outcome {
        self.counts.rewinds += 1;
        let Some(from) = self.source_lived(host, effect) else {
            return Err(Failure::Failed(format!("pg_rewind: could not read from {}", source.host)));
        };
        let World { hosts, wal, .. } = self;
        let target = match &hosts[host].pg.dir {
            Dir::Whole(data) => data.clone(),
            Dir::HalfMade(HalfMade { looks_like: Some(data), .. }) => (**data).clone(),
            Dir::Empty | Dir::HalfMade(_) => {
                return Err(Failure::Failed("pg_rewind: there is no target data directory".to_owned()));
            }
        };
        if hosts[host].pg.disk_full {
            return Err(Failure::Failed(format!("pg_rewind: could not write to file: {NO_SPACE}")));
        }
        let Some(theirs) = hosts[from].pg.data().cloned() else {
            return Err(Failure::Failed("pg_rewind: the source has no data".to_owned()));
        };
        match rewind(&target, &theirs, wal) {
            Err(why) => {
                hosts[host].pg.dir = Dir::Whole(target);
                Err(Failure::Failed(format!("pg_rewind: {why}")))
            }
            Ok(Rewound::NotRequired(data)) => {
                hosts[host].pg.dir = Dir::Whole(Data { standby_signal: true, ..*data });
                self.say(Topic::Server, host, || "no rewind required, says pg_rewind".to_owned());
                Ok(Yield::Rewound { changed: false })
            }
            Ok(Rewound::Done(data)) => {
                hosts[host].pg.dir = Dir::Whole(Data { standby_signal: true, ..*data });
                self.say(Topic::Server, host, || "data directory rewound".to_owned());
                Ok(Yield::Rewound { changed: true })
            }
        }
    }

    // ---- what the store answers

    pub(crate) fn store_answers_effect(&mut self, host: HostId, id: EffectId, sent: Tick, answer: store::Answer) {
        if self.work(host, id).is_none() {
            return;
        }
        match answer {
            store::Answer::Loaded(cluster) => {
                self.core_hears(host, Event::View { cluster, read_at: sent, linearizable: true });
                self.done(host, id, Ok(Yield::Done));
            }
            store::Answer::Wrote(Written::Conflict) if self.weakness.has(Weakness::IgnoreConflict) => {
                let revision = jogi_core::view::Revision::default();
                self.done(host, id, Ok(Yield::Wrote(Written::Done { revision })));
            }
            store::Answer::Wrote(written) => self.done(host, id, Ok(Yield::Wrote(written))),
            store::Answer::Error(why) => self.done(host, id, Err(Failure::Failed(why))),
            store::Answer::Opened(_)
            | store::Answer::Extended { .. }
            | store::Answer::Closed
            | store::Answer::Acquired { .. }
            | store::Answer::Released(_)
            | store::Answer::Conflict
            | store::Answer::SessionGone => {
                self.done(host, id, Err(Failure::Failed("the answer to another question".to_owned())));
            }
        }
    }

    /// What the intent of an earlier run makes of the directory in the eyes of a look.
    pub(crate) fn dir_as_seen(&self, host: HostId) -> DataDir {
        if let Some(why) = &self.hosts[host].quirks.unreadable {
            return DataDir::Broken(why.clone());
        }
        let seen = self.hosts[host].pg.dir.seen(&self.wal);
        let incarnation = self.hosts[host].incarnation;
        let untrusted = match &self.hosts[host].intent {
            Some((Intent::Bootstrap { .. } | Intent::Clone | Intent::PutAside, by)) => *by != incarnation,
            Some((Intent::Rewind | Intent::SingleUser, _)) | None => false,
        };
        match seen {
            DataDir::Present(_) if untrusted => {
                DataDir::Broken("a change of it was begun and has not been completed".to_owned())
            }
            other => other,
        }
    }
}

fn word(as_: LaunchAs) -> &'static str {
    match as_ {
        LaunchAs::Standby => "standby",
        LaunchAs::Primary { .. } => "primary",
        LaunchAs::Bootstrap => "new cluster",
    }
}

fn write_files(data: &mut Data, setup: &Setup, remotes: Vec<HostId>) {
    match &setup.mode {
        Mode::Primary => data.standby_signal = false,
        Mode::Standby { upstream } => {
            data.forget_reserved();
            data.standby_signal = true;
            data.upstream = upstream.as_ref().and_then(|u| u.member.clone());
            data.remotes = remotes;
            data.slot = upstream.as_ref().and_then(|u| u.slot.clone());
        }
    }
    data.synchronous_standby_names = setup.synchronous_standby_names.clone().unwrap_or_default();
    data.feedback = setup.feedback;
}
