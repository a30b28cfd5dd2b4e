//! What `demote-cluster` and `promote-cluster` have in common: change `standby_cluster`, watch it happen.

use std::time::Duration;

use jogi_config::python;
use jogi_core::view::{Cluster, Member};
use serde_json::{Value, json};

use super::watching::Watching;
use crate::cli::WatchArgument;
use crate::failure::Failure;
use crate::listing;
use crate::output::say;
use crate::prompt;
use crate::roles;
use crate::session::Session;
use crate::time;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The new `standby_cluster`: its options, or null to stand alone.
pub struct Change {
    pub cluster_name: Option<String>,
    pub standby_cluster: Value,
    pub force: bool,
}

impl Change {
    fn demotes(&self) -> bool {
        !self.standby_cluster.is_null()
    }

    /// `demot`, `promot`: the beginning of all words for it.
    fn stem(&self) -> &'static str {
        if self.demotes() { "demot" } else { "promot" }
    }

    fn target_role(&self) -> &'static str {
        if self.demotes() { "standby_leader" } else { "primary" }
    }

    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        let argument = crate::cli::ClusterArgument { cluster_name: self.cluster_name.clone(), group: None };
        let herd = session.herd(&argument)?;
        let cluster = herd.load().await?;
        let stem = self.stem();
        let leader = roles::leader(&cluster)
            .ok_or_else(|| Failure::said(format!("Cluster has no leader, {stem}ion is not possible")))?;
        if leader.data.role() == self.target_role() {
            return Err(Failure::said("Cluster is already in the required state"));
        }
        say("Current cluster topology")?;
        listing::show(&herd, &cluster)?;
        let question = format!("Are you sure you want to {stem}e {} cluster?", herd.name);
        if !self.force && !prompt::confirm(&question).await? {
            return Err(Failure::said(format!("Aborted cluster {stem}ion")));
        }
        self.ask(session, &herd.name, &leader).await?;
        let every = WatchArgument { often: false, watch: Some(LOOK_EVERY.as_secs_f64()) };
        let mut watching = Watching::new(every, false);
        while watching.next().await? && !self.is_done(&*herd.load().await?, &leader)? {}
        listing::show(&herd, &*herd.load().await?)
    }

    async fn ask(&self, session: &Session, name: &str, leader: &Member) -> Result<(), Failure> {
        let failed = |cause: String| Failure::said(format!("Failed to {}e {name} cluster: {cause}", self.stem()));
        let body = json!({"standby_cluster": self.standby_cluster});
        let reply = session.rest.patch(leader, "config", &body).await.map_err(|error| failed(error.to_string()))?;
        match reply.status {
            200 => Ok(()),
            code => Err(failed(format!("/config PATCH status code={code}, ({})", reply.body))),
        }
    }

    /// Says how far it is.
    fn is_done(&self, cluster: &Cluster, old: &Member) -> Result<bool, Failure> {
        let leader = roles::leader(cluster);
        let published = |member: Option<&Member>, field: &str| {
            member.and_then(|member| member.data.0.get(field)).cloned().unwrap_or(Value::Null)
        };
        let role = published(leader.as_ref(), "role");
        let state = published(leader.as_ref(), "state");
        let old_state = published(cluster.members.get(&old.name), "state");
        let reached = role == self.target_role() && state == "running" && (!self.demotes() || old_state == "running");
        let now = time::stamp();
        if reached {
            say(format_args!("{now} cluster is successfully {}ed", self.stem()))?;
            return Ok(true);
        }
        let unlocked = python::str(&Value::Bool(leader.is_none()));
        let mut line = format!(
            "{now} cluster is unlocked: {unlocked}, leader role: {}, leader state: {}",
            python::str(&role),
            python::str(&state)
        );
        if self.demotes() && leader.is_some_and(|leader| leader.name != old.name) && python::is_true(&old_state) {
            line.push_str(&format!(", previous leader state: {}", python::repr(&old_state)));
        }
        say(line)?;
        Ok(false)
    }
}
