//! The table of endpoints.
//!
//! The first component of the path and the method name an endpoint; what follows in the path is ignored. Every other GET,
//! HEAD and OPTIONS is a health check, every other method is refused.
//!
//! Looks may be repeated on one connection. What acts, and the status document that elections read, are answered on a
//! connection of their own, as by Patroni: no election hangs on a connection that is older than the fault it is about.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response};
use jogi_net::serve::Peer;

use super::answer::{Answer, Wire};
use super::api::Api;
use super::query::Query;
use super::switchover::Action;
use super::{
    body, cluster, config, failsafe, health, history, incident, liveness, metrics, mpp, patroni, readiness,
    reinitialize, reload, restart, sigterm, switchover,
};

/// Answers one request.
pub(super) async fn handle(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let nobody = Peer { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), certified: false, encrypted: false };
    let call = Call {
        api: &api,
        peer: head.extensions.get::<Peer>().copied().unwrap_or(nobody),
        headers: &head.headers,
        path: head.uri.path(),
        query: Query::parse(head.uri.query()),
    };
    let wire = Wire::of(head.version, &head.method, &head.headers, call.may_keep(&head.method));
    let answer = call.dispatch(&head.method, body).await.unwrap_or_else(|refusal| refusal);
    answer.render(&api.headers.load(), wire)
}

struct Call<'a> {
    api: &'a Api,
    peer: Peer,
    headers: &'a HeaderMap,
    path: &'a str,
    query: Query,
}

type Answered = Result<Answer, Answer>;

impl Call<'_> {
    fn component(&self) -> &str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or("")
    }

    /// Whether the connection may be used again afterwards.
    fn may_keep(&self, method: &Method) -> bool {
        match method.as_str() {
            "GET" => self.component() != "patroni",
            other => matches!(other, "HEAD" | "OPTIONS"),
        }
    }

    async fn dispatch(&self, method: &Method, body: Body) -> Answered {
        let component = self.component();
        match method.as_str() {
            "GET" => Ok(self.get(component).await),
            "HEAD" | "OPTIONS" => Ok(health::get(self.api, self.path, &self.query, true).await),
            "POST" => self.post(component, body).await,
            "PATCH" if component == "config" => {
                self.check_access(true).await?;
                Ok(config::patch(self.api, body::demanded(self.headers, body).await?).await)
            }
            "PUT" if component == "config" => {
                self.check_access(true).await?;
                Ok(config::put(self.api, body::demanded(self.headers, body).await?).await)
            }
            "DELETE" if component == "restart" => {
                self.check_access(true).await?;
                Ok(restart::delete(self.api).await)
            }
            "DELETE" if component == "switchover" => {
                self.check_access(true).await?;
                Ok(switchover::delete(self.api).await)
            }
            other => Err(unsupported(other)),
        }
    }

    async fn get(&self, component: &str) -> Answer {
        match component {
            "patroni" => patroni::get(self.api).await,
            "cluster" => cluster::get(self.api).await,
            "history" => history::get(self.api).await,
            "incident" => incident::get(self.api),
            "config" => config::get(self.api).await,
            "failsafe" => failsafe::get(self.api),
            "metrics" => metrics::get(self.api).await,
            "liveness" => liveness::get(self.api),
            "readiness" => readiness::get(self.api, &self.query).await,
            _ => health::get(self.api, self.path, &self.query, false).await,
        }
    }

    async fn post(&self, component: &str, body: Body) -> Answered {
        match component {
            "switchover" => self.switchover(Action::Switchover, body).await,
            "failover" => self.switchover(Action::Failover, body).await,
            "restart" => {
                self.check_access(true).await?;
                Ok(restart::post(self.api, body::optional(self.headers, body).await?).await)
            }
            "reinitialize" => {
                self.check_access(true).await?;
                reinitialize::post(self.api, body::optional(self.headers, body).await?).await
            }
            "reload" => {
                self.check_access(true).await?;
                Ok(reload::post(self.api).await)
            }
            "failsafe" => {
                self.check_access(false).await?;
                match failsafe::is_enabled(self.api) {
                    true => failsafe::post(self.api, body::demanded(self.headers, body).await?).await,
                    false => Err(Answer::error(502)),
                }
            }
            "sigterm" => {
                self.check_access(true).await?;
                Ok(sigterm::post())
            }
            "citus" | "mpp" => {
                self.check_access(true).await?;
                body::demanded(self.headers, body).await?;
                Ok(mpp::post(self.api))
            }
            _ => Err(unsupported("POST")),
        }
    }

    async fn switchover(&self, action: Action, body: Body) -> Answered {
        self.check_access(true).await?;
        Ok(switchover::post(self.api, action, body::demanded(self.headers, body).await?).await)
    }

    async fn check_access(&self, members: bool) -> Result<(), Answer> {
        let snapshot = self.api.snapshot();
        let access = self.api.access.load_full();
        access.check(&self.peer, self.headers, snapshot.cluster.as_deref(), members).await
    }
}

fn unsupported(method: &str) -> Answer {
    Answer::ErrorPage { status: 501, message: Some(format!("Unsupported method ('{method}')")), explain: None }
}
