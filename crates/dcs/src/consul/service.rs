//! The service that a member is registered as with `register_service`: for Consul's DNS and health checks.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jogi_core::view::MemberData;
use reqwest::Method;
use serde_json::{Value, json};
use tracing::warn;

use super::Consul;
use crate::rest::{Ask, escape};

/// A name of a service is a DNS label's material, of at most this length.
const LONGEST_NAME: usize = 230;

/// What was registered last; `None`: nothing, or not known.
#[derive(Default)]
pub(super) struct Registered(Mutex<Option<Value>>);

/// What a member's key asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    Register(Value),
    Deregister,
    /// Neither: a server that is on its way.
    Leave,
}

impl Consul {
    /// Registers, updates or removes our service when the member's key asks for another one than there is. A failure is
    /// said, and made good at the next write of the key.
    pub(super) async fn keep_service(&self, member: &str, deadline: Duration) {
        if !self.shared.section.register_service || deadline.is_zero() {
            return;
        }
        let id = format!("{}/{}", self.shared.scope, self.shared.name);
        let (path, body) = match self.wish(&id, &MemberData::parse(member)) {
            Wish::Leave => return,
            Wish::Register(body) => ("agent/service/register".to_owned(), Some(body)),
            Wish::Deregister => (format!("agent/service/deregister/{}", escape(&id)), None),
        };
        let last = self.shared.registered.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last == body {
            return;
        }
        let ask = self.ask("register the service", Method::PUT, &path, "");
        let ask = Ask {
            body: body.as_ref().map(|b| Bytes::from(b.to_string())).unwrap_or_default(),
            answers: &[200, 404],
            ..ask
        };
        match self.call(&ask, deadline, |_| Ok(())).await {
            Ok(_) => *self.shared.registered.0.lock().unwrap_or_else(PoisonError::into_inner) = body,
            Err(failed) => {
                let error = crate::DcsError::from(failed);
                warn!(%error, "Consul does not know our service as it is; trying again with the next write of the member's key");
            }
        }
    }

    fn wish(&self, id: &str, member: &MemberData) -> Wish {
        let (role, state) = (member.role(), member.state());
        if state == "stopped" {
            return Wish::Deregister;
        }
        if state != "running" || !["primary", "replica", "standby_leader"].contains(&role) {
            return Wish::Leave;
        }
        let (Some((address, port)), Some(api_url)) = (member.address(), member.api_url()) else { return Wish::Leave };
        let section = &self.shared.section;
        let mut tags = section.service_tags.clone();
        tags.sort();
        let role_tag = role.replace('_', "-");
        let mut check = json!({
            "HTTP": health_url(api_url, &role_tag),
            "Interval": section.service_check_interval,
            "DeregisterCriticalServiceAfter": format!("{}s", self.deregister_after().as_secs()),
        });
        if let Some(name) = &section.service_check_tls_server_name {
            check["TLSServerName"] = name.as_str().into();
        }
        tags.push(role_tag);
        if role == "primary" {
            tags.push("master".into());
        }
        Wish::Register(json!({
            "ID": id, "Name": service_name(&self.shared.scope), "Address": address, "Port": port,
            "Tags": tags, "EnableTagOverride": true, "Check": check,
        }))
    }

    /// A service whose check fails for ten sessions' time is removed by Consul.
    fn deregister_after(&self) -> Duration {
        Duration::from_millis(self.shared.ttl_ms.load(Ordering::Relaxed)) / 2 * 10
    }
}

/// The member's REST address with the role as its path.
fn health_url(api_url: &str, role: &str) -> String {
    match api_url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}/{role}", rest.split('/').next().unwrap_or(rest)),
        None => format!("{api_url}/{role}"),
    }
}

/// The scope as the name of a service.
fn service_name(scope: &str) -> String {
    let mut name = String::new();
    for c in scope.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '-' => name.push(c),
            '.' | '_' | ' ' => name.push('-'),
            other => name.push_str(&format!("u{:04}", u32::from(other))),
        }
    }
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use jogi_config::HostPort;
    use jogi_config::local;

    use super::*;
    use crate::Place;

    fn consul() -> Consul {
        let section =
            local::Consul { service_tags: vec!["b".into(), "a".into()], ..local::Consul::at(HostPort::new("c", 8500)) };
        let place = Place { namespace: "service".into(), scope: "My_Demo".into(), group: None, name: "n1".into() };
        Consul::new(section, &place).expect("valid")
    }

    #[test]
    fn names_of_services() {
        assert_eq!(service_name("My_Demo 1.x"), "my-demo-1-x");
        assert_eq!(service_name("a/ä"), "au0047u0228");
        assert_eq!(service_name(&"a".repeat(300)).len(), 230);
    }

    #[test]
    fn a_members_key_says_what_is_registered() {
        let member = |role: &str, state: &str| {
            MemberData::parse(&json!({"conn_url": "postgres://10.0.0.5:5432/postgres", "api_url": "http://10.0.0.5:8008/patroni", "role": role, "state": state}).to_string())
        };
        let consul = consul();
        let Wish::Register(body) = consul.wish("My_Demo/n1", &member("primary", "running")) else { panic!() };
        assert_eq!(body["Tags"], json!(["a", "b", "primary", "master"]));
        assert_eq!((body["Name"].as_str(), body["Port"].as_u64()), (Some("my-demo"), Some(5432)));
        assert_eq!(body["Check"]["HTTP"], "http://10.0.0.5:8008/primary");
        let Wish::Register(body) = consul.wish("My_Demo/n1", &member("standby_leader", "running")) else { panic!() };
        assert_eq!(body["Check"]["HTTP"], "http://10.0.0.5:8008/standby-leader");
        assert_eq!(consul.wish("i", &member("replica", "starting")), Wish::Leave);
        assert_eq!(consul.wish("i", &member("uninitialized", "running")), Wish::Leave);
        assert_eq!(consul.wish("i", &member("replica", "stopped")), Wish::Deregister);
    }
}
