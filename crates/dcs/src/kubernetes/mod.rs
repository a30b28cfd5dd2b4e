//! Kubernetes: the cluster's keys as annotations of ConfigMaps or Endpoints, its members as pods.
//!
//! A thin client on purpose, like etcd's: the API used is five verbs on four kinds, all of whose meaning is in
//! annotations, and every request needs its own deadline, its server's name in the error, and the choice of the server
//! (the bypass). What each file keeps:
//!
//! - `access`: the service account or the kubeconfig.
//! - `options`: the section of the configuration.
//! - `call`: one request, its tries and its failures in words.
//! - `objects`: which object holds which key, and in what text (Patroni's).
//! - `knowledge`: the newest objects that were seen, and whose lock it is by our own clock.
//! - `sessions`: sessions that Kubernetes does not know of.
//! - `lock`, `write`: what is changed, always on the resourceVersion that was judged.
//! - `pods`: the member's labels.
//! - `watch`: the newest view for ever.

mod access;
mod call;
mod knowledge;
mod lock;
mod objects;
mod operations;
mod options;
mod pods;
mod read;
mod sessions;
mod watch;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jogi_net::http::{HttpOptions, client};
use jogi_net::rustls::ClientConfig;

pub use self::access::{Access, Credentials};
use self::call::Servers;
use self::knowledge::{Knowledge, List, Names};
use self::objects::Part;
pub use self::options::{KubernetesOptions, RoleLabels};
use self::sessions::Sessions;
use crate::SetupError;

/// Patroni's default for a lock without a readable ttl.
const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// A client of one cluster's objects.
#[derive(Clone)]
pub struct Kubernetes {
    shared: Arc<Shared>,
    http: reqwest::Client,
}

/// What all clients of one process know together.
struct Shared {
    options: KubernetesOptions,
    tls: ClientConfig,
    servers: Servers,
    knowledge: Knowledge,
    sessions: Sessions,
    /// The other kind of objects has been looked at, and holds nothing that would be forgotten.
    kind_checked: AtomicBool,
    /// Off for good once the API server forbids it.
    bypass: AtomicBool,
}

impl Kubernetes {
    pub fn new(options: KubernetesOptions) -> Result<Kubernetes, SetupError> {
        let names = Names { cluster: options.cluster.clone(), endpoints: options.use_endpoints };
        let shared = Shared {
            tls: options.access.tls.build(options.bypass)?,
            servers: Servers::new(options.access.server.clone()),
            knowledge: Knowledge::new(names, DEFAULT_TTL),
            sessions: Sessions::default(),
            kind_checked: AtomicBool::new(false),
            bypass: AtomicBool::new(options.bypass),
            options,
        };
        Kubernetes::on(Arc::new(shared))
    }

    fn on(shared: Arc<Shared>) -> Result<Kubernetes, SetupError> {
        let http = client(&HttpOptions { tls: Some(shared.tls.clone()), ..HttpOptions::default() })?;
        Ok(Kubernetes { shared, http })
    }

    fn knowledge(&self) -> &Knowledge {
        &self.shared.knowledge
    }
}

impl Shared {
    /// The plural of the kind that holds the state.
    fn kind(&self) -> &'static str {
        if self.options.use_endpoints { "endpoints" } else { "configmaps" }
    }

    fn other_kind(&self) -> &'static str {
        if self.options.use_endpoints { "configmaps" } else { "endpoints" }
    }

    fn path(&self, kind: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}", self.options.namespace)
    }

    fn object_path(&self, part: Part) -> String {
        format!("{}/{}", self.path(self.kind()), self.knowledge.names.of(part))
    }

    /// The path of a whole list, with its selector.
    fn list_path(&self, list: List) -> String {
        let kind = match list {
            List::Pods => "pods",
            List::Objects => self.kind(),
        };
        format!("{}?labelSelector={}", self.path(kind), encoded(&self.options.selector()))
    }
}

/// A label selector in a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
