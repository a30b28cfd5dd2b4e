//! Two herds of the same shape, one of Patroni's agents and one of ours, each with a store and hosts of its own.

use jogi_testkit::herd::{CHANGE_WITHIN, Herd, HerdSpec, Member};
use jogi_testkit::patroni::Patroni;
use jogi_testkit::wait;
use serde_json::{Value, json};

use crate::common;

/// Patroni accepts no smaller ones.
fn settings() -> Value {
    json!({"ttl": 20, "loop_wait": 1, "retry_timeout": 3})
}

pub struct Pair {
    pub patroni: Herd,
    pub ours: Herd,
}

impl Pair {
    /// Two members each, `n1` leading. `None`, with the reason printed, where there is no Patroni or no room for herds.
    pub fn start(shape: impl Fn(HerdSpec) -> HerdSpec) -> Option<Pair> {
        let spec = shape(common::spec()?.members(2).dcs(settings()));
        let theirs = Patroni::find()?;
        let patroni = spec.clone().programs(theirs.agent(), theirs.ctl()).build();
        let ours = spec.own_programs().build();
        std::thread::scope(|scope| {
            scope.spawn(|| patroni.start());
            ours.start();
        });
        Some(Pair { patroni, ours })
    }

    pub fn both(&self) -> [&Herd; 2] {
        [&self.patroni, &self.ours]
    }

    /// Waits for the same on both.
    #[track_caller]
    pub fn until(&self, what: &str, condition: impl Fn(&Herd) -> bool) {
        for (whose, herd) in ["Patroni's", "our"].into_iter().zip(self.both()) {
            if wait::poll(CHANGE_WITHIN, || condition(herd).then_some(())).is_none() {
                let statuses = herd.members().iter().map(|m| m.status().to_string()).collect::<Vec<_>>().join("\n");
                panic!("waited in vain for {what}, in {whose} herd, which says:\n{statuses}");
            }
        }
    }

    /// The same change of the dynamic configuration on both.
    #[track_caller]
    pub fn configure(&self, change: &Value) {
        for herd in self.both() {
            let reply = herd.members()[0].patch("/config", change);
            assert_eq!(reply.status, 200, "PATCH /config {change}: {}", reply.body);
        }
    }

    /// A member of both.
    pub fn members(&self, name: &str) -> [&Member; 2] {
        [self.patroni.member(name), self.ours.member(name)]
    }
}
