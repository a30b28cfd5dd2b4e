//! The section `kubernetes`, and what a client needs to know.

use std::collections::BTreeMap;

use jogi_core::MemberName;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::objects::Object;
use crate::SetupError;

/// The role label and its values (dcs-layout 12.3).
#[derive(Clone, Debug)]
pub struct RoleLabels {
    pub name: String,
    pub leader: String,
    pub follower: String,
    pub standby_leader: String,
    /// A second label with the plain roles, for a change of the first one's values without an interruption.
    pub temporary: Option<String>,
}

/// Options of a [`Kubernetes`](super::Kubernetes). Not `Debug`: the access holds secrets.
#[derive(Clone)]
pub struct KubernetesOptions {
    pub access: Access,
    pub namespace: String,
    /// `SCOPE`, with Citus `SCOPE-GROUP`: the objects' names begin with it.
    pub cluster: String,
    /// On every object, and what they are found by: the section's labels, the scope's label, Citus' group.
    pub labels: BTreeMap<String, String>,
    pub role: RoleLabels,
    pub bootstrap_labels: BTreeMap<String, String>,
    pub use_endpoints: bool,
    pub pod_ip: Option<String>,
    pub ports: Vec<Value>,
    /// Find the API servers and talk to them past their service.
    pub bypass: bool,
    pub retriable: Vec<u16>,
    /// Our member's (and pod's) name; empty for a client that never holds the lock.
    pub name: MemberName,
}

const SECTION: &str = "kubernetes";

fn wrong(cause: impl Into<String>) -> SetupError {
    SetupError::Section { section: SECTION, cause: cause.into() }
}

impl KubernetesOptions {
    /// Reads the section for one cluster; finds the API server as Patroni does: the pod's service account, else the
    /// kubeconfig. Files are read, nothing is sent.
    pub fn read(
        section: &Map<String, Value>,
        scope: &str,
        group: Option<i64>,
        name: &str,
    ) -> Result<KubernetesOptions, SetupError> {
        let text = |key: &str| section.get(key).and_then(word).filter(|text| !text.is_empty());
        // What is wrong with the section is said before the API server is looked for.
        let nowhere = Access::plain(String::new(), None);
        let options = KubernetesOptions::read_with(section, scope, group, name, nowhere)?;
        Ok(KubernetesOptions {
            access: Access::find(text("context").as_deref(), text("cacert").as_deref())?,
            ..options
        })
    }

    /// The same for an API server that has been found.
    pub fn read_with(
        section: &Map<String, Value>,
        scope: &str,
        group: Option<i64>,
        name: &str,
        access: Access,
    ) -> Result<KubernetesOptions, SetupError> {
        let text = |key: &str| section.get(key).and_then(word).filter(|text| !text.is_empty());
        let or = |key: &str, default: &str| text(key).unwrap_or_else(|| default.into());
        let mut labels = words(section, "labels")?;
        if labels.is_empty() {
            return Err(wrong("labels is missing: give at least one label, by which the cluster's objects are found"));
        }
        labels.insert(or("scope_label", "cluster-name"), scope.into());
        if let Some(group) = group {
            labels.insert("citus-group".into(), group.to_string());
        }
        let role = RoleLabels {
            name: or("role_label", "role"),
            leader: or("leader_label_value", "primary"),
            follower: or("follower_label_value", "replica"),
            standby_leader: or("standby_leader_label_value", "primary"),
            temporary: text("tmp_role_label"),
        };
        Ok(KubernetesOptions {
            access,
            namespace: or("namespace", "default"),
            cluster: group.map_or_else(|| scope.to_owned(), |group| format!("{scope}-{group}")),
            labels,
            role,
            bootstrap_labels: words(section, "bootstrap_labels")?,
            use_endpoints: flag(section, "use_endpoints")?,
            pod_ip: text("pod_ip"),
            ports: ports(section.get("ports"))?,
            bypass: flag(section, "bypass_api_service")?,
            retriable: codes(section.get("retriable_http_codes"))?,
            name: name.into(),
        })
    }

    /// What objects are listed by.
    pub(super) fn selector(&self) -> String {
        self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }

    /// The Endpoints of the primary's service: the address of our pod, with the configured ports.
    pub(super) fn subsets(&self, pod: Option<&Object>) -> Option<Value> {
        let ip = self.pod_ip.clone().or_else(|| pod?.ip.clone())?;
        let name = self.name.as_str();
        let mut target = json!({"kind": "Pod", "name": name, "namespace": self.namespace});
        let mut address = json!({"ip": ip});
        if let Some(pod) = pod {
            target["uid"] = pod.uid.as_str().into();
            target["resourceVersion"] = pod.version.as_str().into();
            let known = [("hostname", &pod.hostname), ("nodeName", &pod.node)];
            for (field, text) in known.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?))) {
                address[field] = text.as_str().into();
            }
        }
        address["targetRef"] = target;
        Some(json!([{"addresses": [address], "ports": self.ports}]))
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn words(section: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, SetupError> {
    let object = match section.get(key) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(object)) => object,
        Some(other) => return Err(wrong(format!("{key} must be a map of labels and values, it is {other}"))),
    };
    let label = |(name, value): (&String, &Value)| Some((name.clone(), word(value)?));
    let labels: Option<BTreeMap<String, String>> = object.iter().map(label).collect();
    labels.ok_or_else(|| wrong(format!("{key}: the value of a label must be text")))
}

fn flag(section: &Map<String, Value>, key: &str) -> Result<bool, SetupError> {
    match section.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => jogi_config::postgres::units::parse_bool(value)
            .ok_or_else(|| wrong(format!("{key} must be true or false, it is {value}"))),
    }
}

fn ports(value: Option<&Value>) -> Result<Vec<Value>, SetupError> {
    let ports = match value {
        None | Some(Value::Null) => return Ok(vec![json!({"port": 5432})]),
        Some(Value::Array(ports)) => ports,
        Some(other) => return Err(wrong(format!("ports must be a list, it is {other}"))),
    };
    ports.iter().map(port).collect()
}

/// One port as the API takes it: the number must be a number.
fn port(port: &Value) -> Result<Value, SetupError> {
    let number = port.get("port").and_then(word).and_then(|text| text.parse::<u16>().ok());
    let Some(number) = number else {
        return Err(wrong(format!("ports: an entry needs a port between 1 and 65535, here it is {port}")));
    };
    let mut made = json!({"port": number});
    for field in ["name", "protocol"] {
        if let Some(text) = port.get(field).and_then(Value::as_str) {
            made[field] = text.into();
        }
    }
    Ok(made)
}

fn codes(value: Option<&Value>) -> Result<Vec<u16>, SetupError> {
    let items: Vec<String> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().filter_map(word).collect(),
        Some(other) => word(other).unwrap_or_default().split(',').map(|code| code.trim().to_owned()).collect(),
    };
    let code = |text: String| {
        let code = text.parse::<u16>().ok().filter(|code| (400..600).contains(code));
        code.ok_or_else(|| wrong(format!("retriable_http_codes: {text:?} is no status code of an error (400 to 599)")))
    };
    items.into_iter().map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_and_the_subset() {
        let options = KubernetesOptions {
            access: Access::plain("https://127.0.0.1:1".into(), None),
            namespace: "ns".into(),
            cluster: "demo".into(),
            labels: [("cluster-name", "demo"), ("application", "spilo")]
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            role: RoleLabels {
                name: "role".into(),
                leader: "primary".into(),
                follower: "replica".into(),
                standby_leader: "primary".into(),
                temporary: None,
            },
            bootstrap_labels: BTreeMap::new(),
            use_endpoints: true,
            pod_ip: None,
            ports: ports(Some(&json!([{"port": "5432", "name": "postgresql"}]))).expect("valid"),
            bypass: false,
            retriable: Vec::new(),
            name: "demo-0".into(),
        };
        assert_eq!(options.selector(), "application=spilo,cluster-name=demo");
        assert_eq!(options.subsets(None), None, "without an address there is none");
        let pod = Object { name: "demo-0".into(), ip: Some("10.0.0.1".into()), uid: "u".into(), ..Object::default() };
        let subsets = options.subsets(Some(&pod)).expect("an address");
        assert_eq!(subsets[0]["addresses"][0]["ip"], "10.0.0.1");
        assert_eq!(subsets[0]["ports"], json!([{"port": 5432, "name": "postgresql"}]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (value, part) in [
            (json!({}), "labels is missing"),
            (json!({"labels": "a"}), "labels must be a map"),
            (json!({"labels": {"a": "b"}, "bootstrap_labels": {"x": []}}), "bootstrap_labels"),
        ] {
            let section = value.as_object().expect("an object");
            let error = KubernetesOptions::read(section, "demo", None, "a").err().map(|e| e.to_string());
            assert!(error.as_ref().is_some_and(|e| e.contains(part)), "{value}: {error:?}");
        }
        for bad in [json!("x"), json!([99]), json!("500, x")] {
            assert!(codes(Some(&bad)).is_err(), "{bad}");
        }
        assert_eq!(codes(Some(&json!("500, 404"))).expect("valid"), [500, 404]);
        assert!(ports(Some(&json!([{"name": "x"}]))).is_err());
    }
}
