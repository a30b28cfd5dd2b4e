//! The model's side: a world with servers and nothing else, whose time runs as fast as it can.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::Duration;

use jogi_core::ha::server::ControlState;
use jogi_core::{Lsn, Wall};
use jogi_sim::clock::Moment;
use jogi_sim::postgres::data::{Data, Dir};
use jogi_sim::postgres::rewind::{Rewound, base_backup, rewind};
use jogi_sim::postgres::{News, Phase};
use jogi_sim::wal::Wal;
use jogi_sim::{Herd, World};

use crate::sequence::{RewindSaid, Role, Seen, order_of};

const NAMES: [&str; 3] = ["s0", "s1", "s2"];
/// Longer than every retry of the model.
const SETTLES: Duration = Duration::from_secs(15);

pub struct Model {
    world: World,
}

impl Model {
    /// `first`: where the template's last checkpoint is; logs have to lie in segments as the real ones do.
    pub fn new(servers: usize, first: u64) -> Model {
        let members = NAMES.iter().take(servers).map(|name| (*name).to_owned()).collect();
        let mut world = World::new(Herd { members, dynamic: serde_json::json!({}), seed: 1 });
        world.checks.be_lenient(Moment(u64::MAX));
        world.wal = Wal::of(1 << 20, Lsn(first));
        let template = Data::new(1, &mut world.wal);
        for host in &mut world.hosts {
            host.pg.dir = Dir::Whole(template.clone());
        }
        Model { world }
    }

    pub fn servers(&self) -> usize {
        self.world.hosts.len()
    }

    fn data(&self, server: usize) -> &Data {
        self.world.hosts[server].pg.data().expect("every directory is whole")
    }

    fn data_mut(&mut self, server: usize) -> &mut Data {
        self.world.hosts[server].pg.data_mut().expect("every directory is whole")
    }

    /// What was done to the server has its consequences.
    fn settle(&mut self, server: usize, news: Vec<News>) {
        self.world.postgres_news(server, news);
        self.world.look_at_streams(server);
        self.world.run_for(SETTLES);
    }

    pub fn start(&mut self, server: usize, upstream: Option<usize>) {
        let data = self.data_mut(server);
        data.standby_signal = upstream.is_some();
        data.upstream = upstream.map(|upstream| NAMES[upstream].into());
        let World { hosts, wal, rng, .. } = &mut self.world;
        hosts[server].pg.start(wal, Wall(0), rng).expect("nothing of it is left");
        self.settle(server, Vec::new());
    }

    pub fn crash(&mut self, server: usize) {
        let World { hosts, rng, .. } = &mut self.world;
        let news = hosts[server].pg.kill_all(rng);
        self.settle(server, news);
    }

    pub fn stop_fast(&mut self, server: usize) {
        let World { hosts, rng, .. } = &mut self.world;
        hosts[server].pg.fast(rng);
        self.settle(server, vec![News::Changed]);
    }

    pub fn stop_immediate(&mut self, server: usize) {
        let World { hosts, rng, .. } = &mut self.world;
        hosts[server].pg.immediate(rng);
        self.settle(server, vec![News::Changed]);
    }

    pub fn promote(&mut self, server: usize, checkpoint: bool) {
        let World { hosts, rng, .. } = &mut self.world;
        let news = hosts[server].pg.promote(rng).expect("a standby");
        self.settle(server, news);
        if checkpoint {
            self.checkpoint(server);
        }
    }

    pub fn follow(&mut self, server: usize, upstream: usize) {
        self.data_mut(server).upstream = Some(NAMES[upstream].into());
        self.settle(server, Vec::new());
    }

    pub fn rewind(&mut self, server: usize, source: usize) -> RewindSaid {
        self.data_mut(server).standby_signal = false;
        let (target, source) = (self.data(server).clone(), self.data(source).clone());
        match rewind(&target, &source, &mut self.world.wal) {
            Ok(Rewound::Done(data)) => {
                self.world.hosts[server].pg.dir = Dir::Whole(*data);
                RewindSaid::Done
            }
            Ok(Rewound::NotRequired(data)) => {
                self.world.hosts[server].pg.dir = Dir::Whole(*data);
                RewindSaid::NotRequired
            }
            Err(_) => RewindSaid::Refused,
        }
    }

    /// `bytes`: what the source wrote meanwhile.
    pub fn clone_from(&mut self, server: usize, source: usize, bytes: u64) {
        self.checkpoint(source);
        self.write(source, bytes);
        let data = base_backup(self.data(source), &self.world.wal);
        self.world.hosts[server].pg.dir = Dir::Whole(data);
    }

    pub fn checkpoint(&mut self, server: usize) {
        let World { hosts, wal, .. } = &mut self.world;
        hosts[server].pg.checkpoint(wal).expect("it runs");
        self.world.wal_grew(server);
        self.settle(server, Vec::new());
    }

    pub fn write(&mut self, server: usize, bytes: u64) {
        let World { hosts, wal, .. } = &mut self.world;
        hosts[server].pg.commit(wal, bytes).expect("writable");
        self.world.wal_grew(server);
        self.settle(server, Vec::new());
    }

    // ---- what it looks like

    /// Two histories have met in one directory.
    pub fn is_mixed(&self) -> bool {
        (0..self.servers()).any(|server| self.data(server).mixed.is_some())
    }

    pub fn role(&self, server: usize) -> Role {
        match self.world.hosts[server].pg.phase() {
            None => Role::Down,
            Some(Phase::Primary) => Role::Primary,
            Some(Phase::Standby | Phase::Promoting) => Role::Standby,
            Some(Phase::Recovering | Phase::Inconsistent) => Role::NotReady,
            Some(phase @ (Phase::ClosingClients { .. } | Phase::WritingCheckpoint | Phase::Draining)) => {
                panic!("server {server} has not ended: {phase:?}")
            }
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        (0..self.servers()).map(|server| self.one(server)).collect()
    }

    fn one(&self, server: usize) -> Seen {
        let (data, role) = (self.data(server), self.role(server));
        let control = data.control(&self.world.wal);
        let stream = self.world.streams[server].as_ref();
        let own = self.world.wal.timeline(data.tip).0;
        let in_recovery = control.state == ControlState::ShutDownInRecovery;
        let ancestors = |history: &jogi_core::History| history.0.iter().map(|switch| switch.parent.0).collect();
        Seen {
            role,
            state: words(control.state).to_owned(),
            checkpoint_timeline: control.timeline.0,
            recovery_timeline: in_recovery.then_some(control.min_recovery_timeline.0),
            timeline: (role == Role::Primary || stream.is_some()).then_some(own),
            streams_from: stream.map(|stream| stream.upstream),
            histories: data.histories.iter().map(|(timeline, h)| (timeline.0, ancestors(h))).collect(),
        }
    }

    pub fn order(&self, one: usize, other: usize) -> Option<Ordering> {
        let (one, other) = (self.data(one).tip, self.data(other).tip);
        let wal = &self.world.wal;
        let one_history = wal.contains(one, other) || wal.contains(other, one);
        order_of(wal.end(one).0, wal.end(other).0, one_history)
    }

    /// For whoever has to find out why the two worlds differ.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for server in 0..self.servers() {
            let (data, wal) = (self.data(server), &self.world.wal);
            let _ = writeln!(
                text,
                "  model's {server}: ends at {} on {}, checkpoint at {}, recovers to {} on {}, {:?}, mixed {:?}",
                wal.end(data.tip),
                wal.timeline(data.tip),
                wal.get(data.checkpoint).start,
                data.min_recovery,
                data.min_recovery_timeline,
                data.histories,
                data.mixed,
            );
        }
        for violation in &self.world.checks.violations {
            let _ = writeln!(text, "  {violation}");
        }
        text
    }
}

/// As pg_controldata prints it.
fn words(state: ControlState) -> &'static str {
    match state {
        ControlState::StartingUp => "starting up",
        ControlState::ShutDown => "shut down",
        ControlState::ShutDownInRecovery => "shut down in recovery",
        ControlState::ShuttingDown => "shutting down",
        ControlState::InCrashRecovery => "in crash recovery",
        ControlState::InArchiveRecovery => "in archive recovery",
        ControlState::InProduction => "in production",
    }
}
