//! The contract on a real etcd.

use std::sync::Arc;

use crate::suite::Store;
use jogi_dcs::{Dcs, Etcd3, Etcd3Options};
use jogi_testkit::etcd::Etcd;

struct OneEtcd(Etcd);

impl OneEtcd {
    fn connect(&self, base: &str, name: &str) -> Arc<dyn Dcs> {
        Arc::new(Etcd3::new(Etcd3Options::plain(self.0.urls(), base, name)).expect("valid options"))
    }
}

impl Store for OneEtcd {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        self.connect("/service/demo", name)
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        self.connect("/service/demo2", "z")
    }
}

crate::contract!(OneEtcd(Etcd::start()));
