//! One random sequence, done to the model and to real servers, which are compared after every step.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jogi_sim::rng::Rng;

use crate::model::Model;
use crate::real::{Servers, Template};

/// What a server is, as far as both worlds can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub role: Role,
    /// Of `pg_control`, in its words.
    pub state: String,
    /// Of the latest checkpoint.
    pub checkpoint_timeline: u32,
    /// Of the minimum recovery point, for one that ended in recovery.
    pub recovery_timeline: Option<u32>,
    /// A primary's own, or what a standby streams.
    pub timeline: Option<u32>,
    pub streams_from: Option<usize>,
    /// The timelines that have a history file, each with its ancestors.
    pub histories: BTreeMap<u32, Vec<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Down,
    /// It runs and takes no connections.
    NotReady,
    Standby,
    Primary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Start { server: usize, upstream: Option<usize> },
    Crash(usize),
    StopFast(usize),
    StopImmediate(usize),
    Promote { server: usize, checkpoint: bool },
    Follow { server: usize, upstream: usize },
    Rewind { server: usize, source: usize },
    Clone { server: usize, source: usize },
    Checkpoint(usize),
    Write { server: usize, rows: u64 },
}

/// What pg_rewind said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindSaid {
    Done,
    NotRequired,
    Refused,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sequences: u64,
    pub steps: u64,
    pub starts: u64,
    pub crashes: u64,
    pub stops: u64,
    pub promotions: u64,
    pub rewinds: u64,
    pub rewinds_not_required: u64,
    pub rewinds_refused: u64,
    pub clones: u64,
    pub writes: u64,
    /// Sequences that ended early: two histories had met in one directory, where nothing is promised any more.
    pub mixed: u64,
    pub highest_timeline: u32,
}

const STEPS: usize = 12;
/// How long the real servers may take to be as the model says.
const WITHIN: Duration = Duration::from_secs(20);

struct Pair<'a> {
    rng: Rng,
    model: Model,
    real: Servers<'a>,
    story: String,
}

pub fn run(seed: u64, template: &Template, counts: &mut Counts) -> Result<(), String> {
    let mut rng = Rng::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let servers = rng.range(2, 4) as usize;
    let mut pair = Pair {
        rng,
        model: Model::new(servers, template.ends_at()),
        real: Servers::new(template, servers),
        story: String::new(),
    };
    let result = pair.run(counts);
    result.map_err(|why| format!("sequence {seed}, {servers} servers:\n{}{why}", pair.story))
}

impl Pair<'_> {
    fn run(&mut self, counts: &mut Counts) -> Result<(), String> {
        let mut first: Vec<Step> =
            vec![Step::Start { server: 0, upstream: None }, Step::Write { server: 0, rows: 300 }];
        first.extend((1..self.model.servers()).map(|server| Step::Start { server, upstream: Some(0) }));
        for step in first {
            self.do_one(step, counts)?;
        }
        counts.sequences += 1;
        for _ in 0..STEPS {
            let step = self.choose();
            self.do_one(step, counts)?;
            if self.model.is_mixed() {
                counts.mixed += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    fn do_one(&mut self, step: Step, counts: &mut Counts) -> Result<(), String> {
        let _ = writeln!(self.story, "  {step:?}");
        if std::env::var("JOGI_MODEL_TRACE").is_ok() {
            println!("{step:?}");
        }
        counts.steps += 1;
        let (model, real) = (&mut self.model, &mut self.real);
        match step {
            Step::Start { server, upstream } => {
                counts.starts += 1;
                model.start(server, upstream);
                real.start(server, upstream);
            }
            Step::Crash(server) => {
                counts.crashes += 1;
                model.crash(server);
                real.crash(server);
            }
            Step::StopFast(server) => {
                counts.stops += 1;
                model.stop_fast(server);
                real.stop_fast(server);
            }
            Step::StopImmediate(server) => {
                counts.stops += 1;
                model.stop_immediate(server);
                real.stop_immediate(server);
            }
            Step::Promote { server, checkpoint } => {
                counts.promotions += 1;
                model.promote(server, checkpoint);
                real.promote(server, checkpoint);
            }
            Step::Follow { server, upstream } => {
                model.follow(server, upstream);
                real.follow(server, upstream);
            }
            Step::Rewind { server, source } => {
                counts.rewinds += 1;
                let (said, really) = (model.rewind(server, source), real.rewind(server, source));
                counts.rewinds_not_required += u64::from(said == RewindSaid::NotRequired);
                counts.rewinds_refused += u64::from(said == RewindSaid::Refused);
                if said != really.0 {
                    return Err(format!("the model's rewind: {said:?}; pg_rewind: {really:?}\n{}", model.describe()));
                }
            }
            Step::Clone { server, source } => {
                counts.clones += 1;
                let bytes = real.clone(server, source);
                model.clone_from(server, source, bytes);
            }
            Step::Checkpoint(server) => {
                model.checkpoint(server);
                real.checkpoint(server);
            }
            Step::Write { server, rows } => {
                counts.writes += 1;
                let streams = |(standby, seen): (usize, Seen)| (seen.streams_from == Some(server)).then_some(standby);
                let standbys: Vec<usize> = model.seen().into_iter().enumerate().filter_map(streams).collect();
                let bytes = real.write(server, rows, &standbys);
                model.write(server, bytes);
            }
        }
        // Where two histories meet nothing is promised, by PostgreSQL neither.
        if self.model.is_mixed() { Ok(()) } else { self.compare(counts) }
    }

    /// Waits until the real servers are as the model says, and whether they stay so where something might still begin.
    fn compare(&mut self, counts: &mut Counts) -> Result<(), String> {
        let expected = self.model.seen();
        let newest = expected.iter().filter_map(|seen| seen.timeline).max().unwrap_or(0);
        counts.highest_timeline = counts.highest_timeline.max(newest);
        let settled = self.real.settles(WITHIN, |real| difference(&self.model, &expected, real));
        settled.map_err(|why| format!("{why}\n{}{}", self.model.describe(), self.real.logs()))
    }

    fn choose(&mut self) -> Step {
        loop {
            let server = self.rng.range(0, self.model.servers() as u64) as usize;
            let other = self.other_than(server);
            let choice = self.rng.range(0, 100);
            let step = match self.model.role(server) {
                Role::Down => self.for_one_that_is_down(server, other, choice),
                Role::NotReady => Some(if choice < 50 { Step::StopFast(server) } else { Step::Crash(server) }),
                Role::Standby => self.for_a_standby(server, other, choice),
                Role::Primary => Some(self.for_a_primary(server, choice)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn for_one_that_is_down(&mut self, server: usize, other: usize, choice: u64) -> Option<Step> {
        let source_runs = self.model.role(other) == Role::Primary;
        match choice {
            0..50 => Some(Step::Start { server, upstream: Some(other) }),
            50..62 => Some(Step::Start { server, upstream: None }),
            62..94 => source_runs.then_some(Step::Rewind { server, source: other }),
            _ => source_runs.then_some(Step::Clone { server, source: other }),
        }
    }

    fn for_a_standby(&mut self, server: usize, other: usize, choice: u64) -> Option<Step> {
        Some(match choice {
            0..15 => Step::StopFast(server),
            15..22 => Step::StopImmediate(server),
            22..37 => Step::Crash(server),
            37..72 => Step::Promote { server, checkpoint: !self.real.has_dirty_pages(server) || self.rng.one_in(2) },
            72..92 => Step::Follow { server, upstream: other },
            _ => Step::Checkpoint(server),
        })
    }

    fn for_a_primary(&mut self, server: usize, choice: u64) -> Step {
        match choice {
            0..20 => Step::StopFast(server),
            20..28 => Step::StopImmediate(server),
            28..45 => Step::Crash(server),
            45..55 => Step::Checkpoint(server),
            _ => Step::Write { server, rows: self.rng.range(400, 1200) },
        }
    }

    fn other_than(&mut self, server: usize) -> usize {
        let servers = self.model.servers();
        (server + 1 + self.rng.range(0, servers as u64 - 1) as usize) % servers
    }
}

/// What the real servers are not as the model says, if anything.
fn difference(model: &Model, expected: &[Seen], real: &[(Seen, u64)]) -> Option<String> {
    let mut text = String::new();
    for (server, (model, (real, _))) in expected.iter().zip(real).enumerate() {
        if model != real {
            let _ = writeln!(text, "server {server}\n  model {model:?}\n  real  {real:?}");
        }
    }
    for one in 0..real.len() {
        for other in one + 1..real.len() {
            let (is, wanted) = (real[one].1.cmp(&real[other].1), model.order(one, other));
            let down = [one, other].iter().any(|server| real[*server].0.role == Role::Down);
            let noted_later = down && real[one].1.abs_diff(real[other].1) <= NOTE;
            if wanted.is_some_and(|wanted| wanted != is) && !noted_later {
                let positions = (real[one].1, real[other].1);
                let _ = writeln!(text, "positions of {one} and {other}: model {wanted:?}, real {is:?} {positions:x?}");
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What a running primary writes by itself every quarter of a minute: a server that is down does not get that.
const NOTE: u64 = 256;

/// The order of two positions, unless they are too near to be told apart: records that both worlds write have not
/// the same size to the byte.
pub fn order_of(one: u64, other: u64, one_history: bool) -> Option<Ordering> {
    const NEAR: u64 = 16_384;
    (one_history || one.abs_diff(other) > NEAR).then(|| one.cmp(&other))
}
