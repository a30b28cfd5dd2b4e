//! What `switchover` and `failover` have in common: look, ask, request, show.

use std::time::Duration;

use jogi_config::{Moment, python};
use jogi_core::view::{Cluster, Failover, Member, Settings, SyncMode};
use serde_json::{Map, Value};
use tracing::{error, warn};

use crate::cli::ClusterArgument;
use crate::failure::Failure;
use crate::listing;
use crate::output::say;
use crate::prompt;
use crate::rest::{Reply, RestError};
use crate::roles;
use crate::session::Session;
use crate::store::Herd;
use crate::time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Switchover,
    Failover,
}

impl Kind {
    /// The word in texts, and the endpoint.
    fn word(self) -> &'static str {
        match self {
            Kind::Switchover => "switchover",
            Kind::Failover => "failover",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Switchover => "Switchover",
            Kind::Failover => "Failover",
        }
    }
}

/// What the command line says.
pub struct Handover {
    pub kind: Kind,
    pub leader: Option<String>,
    pub candidate: Option<String>,
    pub scheduled: Option<String>,
    pub force: bool,
}

/// What is asked for in the end. `leader` is given for a switchover only.
struct Request {
    leader: Option<String>,
    candidate: Option<String>,
    at: Option<Moment>,
}

/// A member takes two cycles, at least 20 seconds, before it says that the outcome is unknown.
fn answer_within(settings: &Settings) -> Duration {
    2 * settings.loop_wait.max(Duration::from_secs(10)) + Duration::from_secs(15)
}

impl Handover {
    pub async fn run(self, session: &Session, argument: &ClusterArgument) -> Result<(), Failure> {
        let mut herd = session.herd(argument)?;
        let mut cluster = herd.load().await?;
        say("Current cluster topology")?;
        listing::show(&herd, &cluster)?;
        if herd.citus && herd.group.is_none() {
            if self.force {
                return Err(Failure::said("For Citus clusters the --group must me specified"));
            }
            herd = session.herd_named(&herd.name, Some(prompt::ask_number("Citus group").await?))?;
            cluster = herd.load().await?;
        }
        let settings = cluster.settings().unwrap_or_default();
        let request = self.request(&herd, &cluster, &settings).await?;
        self.confirm(&herd, &cluster, &request).await?;
        self.perform(session, &herd, &cluster, &request, answer_within(&settings)).await
    }

    async fn request(&self, herd: &Herd, cluster: &Cluster, settings: &Settings) -> Result<Request, Failure> {
        let leader = match self.kind {
            Kind::Switchover => Some(self.leader(herd, cluster, settings).await?),
            Kind::Failover => None,
        };
        let candidate = self.candidate(herd, cluster).await?;
        self.confirm_asynchronous(cluster, settings, candidate.as_deref()).await?;
        let at = match self.kind {
            Kind::Switchover => self.when().await?,
            Kind::Failover => None,
        };
        if at.is_some() && settings.pause {
            return Err(Failure::said("Can't schedule switchover in the paused state"));
        }
        Ok(Request { leader, candidate, at })
    }

    async fn leader(&self, herd: &Herd, cluster: &Cluster, settings: &Settings) -> Result<String, Failure> {
        let current = cluster.leader.as_ref().map(|leader| leader.name.as_str());
        let current = current.ok_or_else(|| Failure::said("This cluster has no leader"))?;
        let leader = match (&self.leader, self.force) {
            (Some(leader), _) => leader.clone(),
            (None, true) => current.to_owned(),
            (None, false) => {
                let question = if settings.standby_cluster.is_some() { "Standby Leader" } else { "Primary" };
                prompt::ask(question, Some(current)).await?
            }
        };
        match leader == current {
            true => Ok(leader),
            false => Err(Failure::said(format!("Member {leader} is not the leader of cluster {}", herd.name))),
        }
    }

    async fn candidate(&self, herd: &Herd, cluster: &Cluster) -> Result<Option<String>, Failure> {
        let may_lead = |member: &&Member| !cluster.is_leader(&member.name) && !member.data.tags().nofailover();
        let names: Vec<&str> = cluster.members.values().filter(may_lead).map(|member| member.name.as_str()).collect();
        if names.is_empty() {
            return Err(Failure::said(format!("No candidates found to {} to", self.kind.word())));
        }
        let candidate = match (&self.candidate, self.force) {
            (None, false) => {
                let question = format!("Candidate {}", python::str(&Value::from(names.clone())));
                Some(prompt::ask(&question, Some("")).await?)
            }
            (given, _) => given.clone(),
        };
        let Some(candidate) = candidate.filter(|name| !name.is_empty()) else {
            return match self.kind {
                Kind::Switchover => Ok(None),
                Kind::Failover => Err(Failure::said("Failover could be performed only to a specific candidate")),
            };
        };
        if names.contains(&candidate.as_str()) {
            return Ok(Some(candidate));
        }
        Err(Failure::said(match cluster.leader.as_ref().is_some_and(|leader| leader.name.as_str() == candidate) {
            true => format!("Member {candidate} is already the leader of cluster {}", herd.name),
            false => {
                format!("Member {candidate} does not exist in cluster {} or is tagged as nofailover", herd.name)
            }
        }))
    }

    /// A failover to a member that may lack acknowledged transactions is asked about.
    async fn confirm_asynchronous(
        &self,
        cluster: &Cluster,
        settings: &Settings,
        candidate: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(candidate) = candidate else { return Ok(()) };
        let asks = !self.force
            && self.kind == Kind::Failover
            && settings.is_sync()
            && settings.sync_mode != SyncMode::Off
            && cluster.sync.leader.is_some()
            && !cluster.sync.names(&candidate.into());
        let question = format!("Are you sure you want to failover to the asynchronous node {candidate}?");
        match !asks || prompt::confirm(&question).await? {
            true => Ok(()),
            false => Err(Failure::said("Aborting failover")),
        }
    }

    async fn when(&self) -> Result<Option<Moment>, Failure> {
        let asked = match (&self.scheduled, self.force) {
            (None, false) => {
                let question = format!("When should the switchover take place (e.g. {} ) ", time::next_hour());
                Some(prompt::ask(&question, Some("now")).await?)
            }
            (given, _) => given.clone(),
        };
        time::scheduled(asked.as_deref())
    }

    async fn confirm(&self, herd: &Herd, cluster: &Cluster, request: &Request) -> Result<(), Failure> {
        if self.force {
            return Ok(());
        }
        let (action, name) = (self.kind.word(), &herd.name);
        let demoting = cluster.leader.as_ref().map(|leader| format!(", demoting current leader {}", leader.name));
        let demoting = demoting.unwrap_or_default();
        let (question, refused) = match &request.at {
            Some(at) => (
                format!(
                    "Are you sure you want to schedule switchover of cluster {name} at {}{demoting}?",
                    at.isoformat()
                ),
                format!("Aborting scheduled {action}"),
            ),
            None => {
                (format!("Are you sure you want to {action} cluster {name}{demoting}?"), format!("Aborting {action}"))
            }
        };
        match prompt::confirm(&question).await? {
            true => Ok(()),
            false => Err(Failure::said(refused)),
        }
    }

    /// By the leader, or where there is none by the candidate; where it cannot be reached, in the store.
    async fn perform(
        &self,
        session: &Session,
        herd: &Herd,
        cluster: &Cluster,
        request: &Request,
        within: Duration,
    ) -> Result<(), Failure> {
        let candidate = || cluster.members.get(request.candidate.as_deref()?).cloned();
        let member = roles::leader(cluster).or_else(candidate);
        let answer = match member {
            Some(member) => self.ask(session, &member, request, within).await,
            None => Err(RestError::NoUrl { member: "(none)".into() }),
        };
        match answer {
            Ok(Reply { status: 200 | 202, body }) => {
                let after = herd.load().await?;
                say(format_args!("{} {body}", time::fine_stamp()))?;
                listing::show(herd, &after)
            }
            Ok(Reply { status, body }) => say(format_args!("{} failed, details: {status}, {body}", self.kind.title())),
            // It may be under way: a second request would be one too many.
            Err(late @ RestError::Late { .. }) => Err(late.into()),
            Err(cause) => {
                error!("{cause}");
                self.fall_back(herd, request).await?;
                listing::show(herd, cluster)
            }
        }
    }

    async fn ask(
        &self,
        session: &Session,
        member: &Member,
        request: &Request,
        within: Duration,
    ) -> Result<Reply, RestError> {
        let body = request.body();
        let reply = session.rest.post(member, self.kind.word(), Some(&body), within).await?;
        // A very old agent knows failover only.
        let unknown = reply.status == 501 && reply.body.contains("Server does not support this operation");
        match unknown && self.kind == Kind::Switchover {
            true => session.rest.post(member, Kind::Failover.word(), Some(&body), within).await,
            false => Ok(reply),
        }
    }

    async fn fall_back(&self, herd: &Herd, request: &Request) -> Result<(), Failure> {
        warn!("Failing over to DCS");
        let action = self.kind.word();
        say(format_args!("{} Could not {action} using Patroni api, falling back to DCS", time::fine_stamp()))?;
        let failover = Failover {
            leader: request.leader.as_deref().map(Into::into),
            member: request.candidate.as_deref().map(Into::into),
            scheduled_at: request.at.as_ref().map(Moment::isoformat),
        };
        herd.write_failover(&failover).await.map(drop)
    }
}

impl Request {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("candidate".into(), self.candidate.as_deref().into());
        if let Some(leader) = &self.leader {
            body.insert("leader".into(), leader.as_str().into());
        }
        if let Some(at) = &self.at {
            body.insert("scheduled_at".into(), at.isoformat().into());
        }
        Value::Object(body)
    }
}
