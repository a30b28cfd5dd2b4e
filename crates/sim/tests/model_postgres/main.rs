//! The model of PostgreSQL against PostgreSQL: random sequences of start, crash, stop, promote, follow, rewind, clone
//! and write on two or three servers give the same timelines, order of positions, control states and streams.
//!
//! `JOGI_MODEL_SEQUENCES=from..to` runs others than usual; `JOGI_MODEL_TRACE=1` prints every step.

mod model;
mod real;
mod sequence;

use std::time::Instant;

use jogi_testkit::require::{self, Need};

/// On every run.
const USUAL: (u64, u64) = (0, 15);

fn range() -> (u64, u64) {
    let Ok(text) = std::env::var("JOGI_MODEL_SEQUENCES") else { return USUAL };
    let (from, to) = text.split_once("..").expect("JOGI_MODEL_SEQUENCES=FROM..TO");
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

#[test]
fn the_model_does_what_postgresql_does() {
    if !require::can(&[Need::PostgreSql, Need::PostgresUser, Need::Program("setpriv"), Need::Program("cp")]) {
        return;
    }
    let began = Instant::now();
    let template = real::Template::make();
    let (from, to) = range();
    let mut counts = sequence::Counts::default();
    let failures: Vec<String> =
        (from..to).filter_map(|seed| sequence::run(seed, &template, &mut counts).err()).collect();
    println!("{} sequences in {:.0} s: {counts:?}", to - from, began.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{} of {} sequences differ:\n\n{}", failures.len(), to - from, failures.join("\n\n"));
}
