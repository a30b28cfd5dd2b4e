//! The contract on a real etcd with its v2 API.

use std::sync::Arc;

use jogi_dcs::suite::Fixture;
use jogi_dcs::{Dcs, Etcd2, Etcd3Options};
use jogi_testkit::etcd::{Etcd, EtcdOptions};
use jogi_testkit::require::{Need, can};

pub struct OneEtcd(pub Etcd);

impl OneEtcd {
    pub fn start() -> OneEtcd {
        OneEtcd(Etcd::with(EtcdOptions { extra: vec!["--enable-v2".into()], ..EtcdOptions::default() }))
    }

    fn connect(&self, base: &str, name: &str) -> Arc<dyn Dcs> {
        Arc::new(Etcd2::new(Etcd3Options::plain(self.0.urls(), base, name)).expect("valid options"))
    }
}

impl Fixture for OneEtcd {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        self.connect("/service/demo", name)
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        self.connect("/service/demo2", "z")
    }

    /// Whole seconds, so that a busy machine does not end a session by itself.
    fn floor(&self) -> std::time::Duration {
        std::time::Duration::from_secs(3)
    }

    fn freeze(&self) {
        self.0.freeze(0);
    }

    fn thaw(&self) {
        self.0.thaw(0);
    }

    fn stop(&self) {
        self.0.kill(0);
    }

    fn start(&self) {
        self.0.restart(0);
    }
}

jogi_dcs::contract!(if can(&[Need::Program("etcd")]) => OneEtcd::start());
