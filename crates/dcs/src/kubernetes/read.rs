//! Readings: one object, the whole cluster, and the other kind of objects.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jogi_core::view::Key;
use jogi_net::boot_now;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::Kubernetes;
use super::call::{Answer, Request, unexpected};
use super::knowledge::List;
use super::objects::{Object, Part, value_of};
use crate::deadline::Left;
use crate::{DcsError, Freshness, View};

impl Kubernetes {
    /// Reads both lists; the version of each, for the watch to go on from.
    pub(super) async fn read_all(
        &self,
        freshness: Freshness,
        deadline: Duration,
    ) -> Result<(View, [String; 2]), DcsError> {
        let left = Left::of(deadline);
        let read_at = boot_now();
        let (pods, objects) = tokio::join!(
            self.read_list(List::Pods, freshness, deadline),
            self.read_list(List::Objects, freshness, deadline)
        );
        let versions = [pods?, objects?];
        self.check_kind(left.time()).await?;
        Ok((View { cluster: self.knowledge().view(boot_now()), read_at }, versions))
    }

    pub(super) async fn read_list(
        &self,
        list: List,
        freshness: Freshness,
        deadline: Duration,
    ) -> Result<String, DcsError> {
        let operation = match list {
            List::Pods => "list the members' pods",
            List::Objects => "list the cluster's objects",
        };
        let mut path = self.shared.list_path(list);
        match freshness {
            Freshness::Linearizable => {}
            Freshness::Any => path.push_str("&resourceVersion=0"),
        }
        let known = self.knowledge().listed(list).filter(|_| freshness == Freshness::Linearizable);
        let value = match self.call(&Request::get(operation, &path), deadline).await?.answer {
            Answer::Ok(value) => value,
            other @ (Answer::Missing(_) | Answer::Conflict | Answer::Gone) => {
                return Err(unexpected(operation, &self.shared, &format!("a list cannot be {other:?}")));
            }
        };
        let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let (Some(version), Some(items)) = (version, value.get("items").and_then(Value::as_array)) else {
            let endpoint = self.shared.servers.describe();
            return Err(DcsError::Garbled { operation, endpoint, cause: "a list without items or version".into() });
        };
        let objects = items.iter().filter_map(Object::parse).collect();
        self.knowledge().replace(list, objects, version, known.as_deref(), boot_now());
        Ok(version.to_owned())
    }

    /// One object as it is now; `None`: there is none.
    pub(super) async fn read_part(&self, part: Part, deadline: Duration) -> Result<Option<Object>, DcsError> {
        let path = self.shared.object_path(part);
        let operation = "read an object";
        let before = self.knowledge().object(part);
        match self.call(&Request::get(operation, &path), deadline).await?.answer {
            Answer::Ok(value) => self.take(operation, List::Objects, &value).map(Some),
            Answer::Missing(_) => {
                // It may have gone without our having seen it. What was made since we asked stays.
                let name = self.knowledge().names.of(part);
                if let Some(object) = before {
                    self.knowledge().remove(List::Objects, &name, &object.version, boot_now());
                }
                Ok(None)
            }
            other @ (Answer::Conflict | Answer::Gone) => {
                Err(unexpected(operation, &self.shared, &format!("a reading cannot be {other:?}")))
            }
        }
    }

    /// Takes over an object that an answer brought.
    pub(super) fn take(&self, operation: &'static str, list: List, value: &Value) -> Result<Object, DcsError> {
        let Some(object) = Object::parse(value) else {
            let endpoint = self.shared.servers.describe();
            return Err(DcsError::Garbled { operation, endpoint, cause: "an object without a name".into() });
        };
        self.knowledge().put(list, object.clone(), boot_now());
        Ok(object)
    }

    /// A cluster whose state lies in objects of the other kind would be founded a second time beside itself. Looked
    /// at once per process, and only where our own kind holds no identity: a role that allows one kind alone, as the
    /// operator's does, cannot hold both.
    async fn check_kind(&self, deadline: Duration) -> Result<(), DcsError> {
        if self.shared.kind_checked.load(Ordering::SeqCst) {
            return Ok(());
        }
        let ours = self.knowledge().object(Part::Config).and_then(|config| value_of(&Key::Initialize, &config));
        if ours.is_none() {
            let (ours, other) = (self.shared.kind(), self.shared.other_kind());
            let name = self.knowledge().names.of(Part::Config);
            let path = format!("{}/{name}", self.shared.path(other));
            let operation = "look for state of the other kind";
            match self.call(&Request::get(operation, &path), deadline).await.map(|answered| answered.answer) {
                Ok(Answer::Ok(value)) => {
                    let theirs = Object::parse(&value).and_then(|config| value_of(&Key::Initialize, &config));
                    if theirs.is_some_and(|identity| !identity.is_empty()) {
                        return Err(DcsError::Refused {
                            operation,
                            endpoint: self.shared.servers.describe(),
                            cause: format!(
                                "the state of this cluster lies in {other} ({name} there holds its identity), and the configuration asks for {ours}: set kubernetes.use_endpoints back, or stop all members, copy the annotations over and remove the {other}"
                            ),
                        });
                    }
                }
                Ok(Answer::Missing(_)) => {}
                Err(DcsError::Forbidden { cause, .. }) => {
                    debug!(%cause, "state of the other kind cannot be looked for");
                }
                Ok(other @ (Answer::Conflict | Answer::Gone)) => {
                    return Err(unexpected(operation, &self.shared, &format!("a reading cannot be {other:?}")));
                }
                Err(error) => return Err(error),
            }
        }
        self.shared.kind_checked.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Finds the API servers behind their service. A role that does not allow it switches the bypass off.
    pub(super) async fn find_servers(&self, deadline: Duration) {
        if !self.shared.bypass.load(Ordering::SeqCst) {
            return;
        }
        let operation = "find the API servers";
        let request = Request::get(operation, "/api/v1/namespaces/default/endpoints/kubernetes");
        match self.call(&request, deadline).await.map(|answered| answered.answer) {
            Ok(Answer::Ok(value)) => {
                let servers = addresses(&value);
                debug!(?servers, "the API servers behind their service");
                self.shared.servers.found(servers);
            }
            Err(DcsError::Forbidden { cause, .. }) => {
                self.shared.bypass.store(false, Ordering::SeqCst);
                warn!(%cause, "kubernetes.bypass_api_service is not permitted: going through the service");
            }
            Ok(Answer::Missing(cause)) => info!(%cause, "the API servers do not say where they are"),
            Ok(other @ (Answer::Conflict | Answer::Gone)) => {
                debug!(?other, "the API servers do not say where they are")
            }
            Err(error) => debug!(%error, "the API servers do not say where they are"),
        }
    }
}

/// `https://IP:PORT` of each address.
fn addresses(endpoints: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let port = subset["ports"].as_array().into_iter().flatten().find_map(|port| port["port"].as_u64());
        for ip in subset["addresses"].as_array().into_iter().flatten().filter_map(|a| a["ip"].as_str()) {
            let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            found.extend(port.map(|port| format!("https://{host}:{port}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_the_api_servers() {
        let endpoints = json!({"subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"name": "https", "port": 6443}]},
            {"addresses": [{"ip": "10.0.0.9"}]},
        ]});
        assert_eq!(addresses(&endpoints), ["https://10.0.0.1:6443", "https://[fd00::1]:6443"]);
        assert!(addresses(&json!({})).is_empty());
    }
}
