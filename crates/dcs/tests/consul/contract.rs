//! The contract on a real Consul.

use std::sync::Arc;
use std::time::Duration;

use jogi_config::{HostPort, local};
use jogi_dcs::suite::Fixture;
use jogi_dcs::{Consul, Dcs, Place};
use jogi_testkit::consul;

pub struct OneConsul(pub consul::Consul);

pub fn section(server: &consul::Consul) -> local::Consul {
    local::Consul::at(HostPort::new("127.0.0.1", server.address().port()))
}

pub fn place(scope: &str, name: &str) -> Place {
    Place { namespace: "service".into(), scope: scope.into(), group: None, name: name.into() }
}

impl Fixture for OneConsul {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        Arc::new(Consul::new(section(&self.0), &place("demo", name)).expect("valid options"))
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        Arc::new(Consul::new(section(&self.0), &place("demo2", "z")).expect("valid options"))
    }

    /// The server's shortest session is 1 s.
    fn floor(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn freeze(&self) {
        self.0.freeze();
    }

    fn thaw(&self) {
        self.0.thaw();
    }

    fn stop(&self) {
        self.0.kill();
    }

    fn start(&self) {
        self.0.restart();
    }
}

jogi_dcs::contract!(if consul::find().is_some() => OneConsul(consul::Consul::start()));
