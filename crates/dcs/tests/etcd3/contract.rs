//! The contract on a real etcd.

use std::sync::Arc;

use jogi_dcs::suite::Fixture;
use jogi_dcs::{Dcs, Etcd3, Etcd3Options};
use jogi_testkit::etcd::Etcd;
use jogi_testkit::require::{Need, can};

struct OneEtcd(Etcd);

impl OneEtcd {
    fn connect(&self, base: &str, name: &str) -> Arc<dyn Dcs> {
        Arc::new(Etcd3::new(Etcd3Options::plain(self.0.urls(), base, name)).expect("valid options"))
    }
}

impl Fixture for OneEtcd {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        self.connect("/service/demo", name)
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        self.connect("/service/demo2", "z")
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

jogi_dcs::contract!(if can(&[Need::Program("etcd")]) => OneEtcd(Etcd::start()));
