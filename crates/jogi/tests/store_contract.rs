//! The contract of every store on the built-in one, by the agents' own client.

use std::sync::Arc;

use jogi_dcs::suite::Fixture;
use jogi_dcs::{Dcs, Etcd3, Etcd3Options};
use jogi_testkit::own_store::OwnStore;

struct BuiltIn {
    store: OwnStore,
    _dir: tempfile::TempDir,
}

impl BuiltIn {
    fn start() -> BuiltIn {
        let dir = tempfile::tempdir().expect("a directory");
        BuiltIn { store: OwnStore::start(env!("CARGO_BIN_EXE_jogi"), &dir.path().join("data"), &[]), _dir: dir }
    }

    fn connect(&self, base: &str, name: &str) -> Arc<dyn Dcs> {
        let options = Etcd3Options::plain(vec![self.store.url()], base, name);
        Arc::new(Etcd3::new(options).expect("valid options"))
    }
}

impl Fixture for BuiltIn {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        self.connect("/service/demo", name)
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        self.connect("/service/demo2", "z")
    }

    fn freeze(&self) {
        self.store.freeze();
    }

    fn thaw(&self) {
        self.store.thaw();
    }

    fn stop(&self) {
        self.store.kill();
    }

    fn start(&self) {
        self.store.restart();
    }
}

jogi_dcs::contract!(if true => BuiltIn::start());
