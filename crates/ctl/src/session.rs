//! One run of the tool: its configuration, and its way to members.

use crate::cli::ClusterArgument;
use crate::config::Config;
use crate::failure::Failure;
use crate::rest::Rest;
use crate::store::Herd;

pub struct Session {
    pub config: Config,
    pub rest: Rest,
}

impl Session {
    pub fn new(config: Config) -> Session {
        let rest = Rest::new(&config.ctl);
        Session { config, rest }
    }

    /// The cluster of the command line, else of the configuration.
    pub fn herd(&self, argument: &ClusterArgument) -> Result<Herd, Failure> {
        let name = argument.cluster_name.as_ref().or(self.config.scope.as_ref()).ok_or_else(|| {
            Failure::said("no cluster is named: give its name as an argument, or a configuration file with scope (-c)")
        })?;
        self.herd_named(name, argument.group)
    }

    /// As [`Session::herd`], for commands that take the Citus group of the configuration when none is given.
    pub fn herd_of_group(&self, argument: &ClusterArgument) -> Result<Herd, Failure> {
        let group = argument.group.or(self.config.citus_group);
        self.herd(&ClusterArgument { group, ..argument.clone() })
    }

    pub fn herd_named(&self, name: &str, group: Option<i64>) -> Result<Herd, Failure> {
        Herd::new(&self.config, name, group)
    }
}
