//! Clusters in namespaces of their own on one API server.

use std::sync::Arc;

use jogi_dcs::Dcs;
use jogi_dcs::kubernetes::{Kubernetes, KubernetesOptions};
use jogi_dcs::suite::Fixture;
use jogi_testkit::kube::{Kube, operator_rules};
use serde_json::{Map, Value, json};

/// One namespace with the pods `a`, `b` and `c`, and the operator's role.
#[derive(Clone)]
pub struct Place {
    pub kube: Arc<Kube>,
    pub namespace: String,
    pub endpoints: bool,
}

impl Place {
    pub fn new(kube: &Arc<Kube>, namespace: &str, endpoints: bool) -> Place {
        kube.namespace(namespace);
        kube.permit(namespace, &operator_rules(if endpoints { "endpoints" } else { "configmaps" }));
        for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
            let labels = json!({"application": "spilo", "cluster-name": "demo"});
            kube.pod(namespace, name, &labels, &format!("10.1.1.{}", i + 1));
        }
        Place { kube: kube.clone(), namespace: namespace.into(), endpoints }
    }

    pub fn kind(&self) -> &'static str {
        if self.endpoints { "endpoints" } else { "configmaps" }
    }

    pub fn section(&self) -> Map<String, Value> {
        let section = json!({
            "labels": {"application": "spilo"},
            "namespace": self.namespace,
            "use_endpoints": self.endpoints,
            "ports": [{"port": 5432, "name": "postgresql"}],
            "role_label": "spilo-role",
            "leader_label_value": "master",
            "standby_leader_label_value": "master",
            "bootstrap_labels": {"critical-operation": "true"},
            "context": "test",
        });
        section.as_object().cloned().expect("an object")
    }

    pub fn options(&self, scope: &str, name: &str, section: &Map<String, Value>) -> KubernetesOptions {
        let mut options = KubernetesOptions::read_with(section, scope, None, name, self.access()).expect("valid");
        options.name = name.into();
        options
    }

    pub fn access(&self) -> jogi_dcs::kubernetes::Access {
        let path = self.kube.kubeconfig("pods.kubeconfig", &self.kube.pod_token);
        jogi_dcs::kubernetes::Access::kubeconfig(&path, Some("test")).expect("a kubeconfig")
    }

    pub fn connect(&self, scope: &str, name: &str) -> Arc<dyn Dcs> {
        Arc::new(Kubernetes::new(self.options(scope, name, &self.section())).expect("valid options"))
    }

    pub fn object(&self, name: &str) -> Value {
        self.kube.get(&self.namespace, self.kind(), name).unwrap_or_else(|| panic!("no {} {name}", self.kind()))
    }

    pub fn annotation(&self, name: &str, annotation: &str) -> Option<String> {
        self.object(name)["metadata"]["annotations"][annotation].as_str().map(str::to_owned)
    }

    pub fn pod(&self, name: &str) -> Value {
        self.kube.get(&self.namespace, "pods", name).expect("the pod")
    }
}

impl Fixture for Place {
    fn client(&self, name: &str) -> Arc<dyn Dcs> {
        self.connect("demo", name)
    }

    fn neighbour(&self) -> Arc<dyn Dcs> {
        self.connect("demo2", "z")
    }

    fn members_expire(&self) -> bool {
        false
    }

    fn freeze(&self) {
        self.kube.freeze();
    }

    fn thaw(&self) {
        self.kube.thaw();
    }

    fn stop(&self) {
        self.kube.down();
    }

    fn start(&self) {
        self.kube.up();
    }
}
