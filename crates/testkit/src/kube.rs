//! A real Kubernetes API server on loopback, with an etcd of its own. No kubelet, no scheduler, no controller: a test makes
//! the pods and says what their status is.
//!
//! The program is built by `scripts/kube-apiserver.sh build` (minutes, once per machine), never by a test.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::etcd::Etcd;
use crate::server::free_ports;
use crate::{process, require, wait};

/// Where `scripts/kube-apiserver.sh` puts it, unless `JOGI_TEST_KUBE_APISERVER` names another place.
const BUILT: &str = "/var/cache/jogi/kube-apiserver/kube-apiserver";
const READY_WITHIN: Duration = Duration::from_secs(120);

/// The rules that the operator's role gives its pods (operator-contract 5), and no more.
pub fn operator_rules(kind: &str) -> Value {
    json!([
        {"apiGroups": [""], "resources": [kind],
         "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch", "update", "watch"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["create"]},
    ])
}

/// What a request to the API server was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// A running API server. Dropping it kills it and its etcd.
pub struct Kube {
    dir: TempDir,
    program: PathBuf,
    address: SocketAddr,
    etcd: Etcd,
    child: Mutex<Option<Child>>,
    /// The service account `spilo` of the namespace `default`, under RBAC.
    pub pod_token: String,
    pub admin_token: String,
}

impl Kube {
    /// `None`, with the reason in the list of tests that did not run, where the program was not built.
    ///
    /// # Panics
    /// When it does not come up; with what it said.
    #[must_use]
    pub fn start() -> Option<Kube> {
        let program = std::env::var_os("JOGI_TEST_KUBE_APISERVER").map_or_else(|| PathBuf::from(BUILT), PathBuf::from);
        let missing = ["etcd", "openssl", "curl"].into_iter().find(|name| require::program(name).is_none());
        if !program.is_file() || missing.is_some() {
            require::did_not_run(&match missing {
                Some(name) => format!("there is no `{name}` on the path"),
                None => format!("there is no {}: `scripts/kube-apiserver.sh build` makes it", program.display()),
            });
            return None;
        }
        let dir = tempfile::Builder::new().prefix("jogi-kube-").tempdir().expect("a temporary directory");
        let port = free_ports(1)[0];
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (pod_token, admin_token) = (format!("pod{:016x}", seed(1)), format!("adm{:016x}", seed(2)));
        let kube = Kube { dir, program, address, etcd: Etcd::start(), child: Mutex::default(), pod_token, admin_token };
        kube.make_files();
        kube.up();
        Some(kube)
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A kubeconfig with one context, `test`, for the token.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: test, cluster: {{server: \"{}\", \
             certificate-authority: {}}}}}]\nusers: [{{name: u, user: {{token: {token}}}}}]\ncontexts: [{{name: test, \
             context: {{cluster: test, user: u}}}}]\n",
            self.url(),
            self.ca().display()
        );
        fs::write(&path, text).expect("a kubeconfig can be written");
        path
    }

    /// The text of a kubeconfig that needs no other file.
    pub fn portable_kubeconfig(&self, token: &str) -> String {
        let ca = BASE64.encode(fs::read(self.ca()).expect("the authority's certificate"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: test, cluster: {{server: \"{}\", \
             certificate-authority-data: {ca}}}}}]\nusers: [{{name: u, user: {{token: {token}}}}}]\ncontexts: [{{name: test, \
             context: {{cluster: test, user: u}}}}]\n",
            self.url(),
        )
    }

    fn make_files(&self) {
        let dir = self.dir.path();
        let openssl = |arguments: &str| {
            let done = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
            let done = done.expect("openssl starts");
            assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
        };
        openssl("genrsa -out sa.key 2048");
        openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=test-ca");
        openssl("req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=kube-apiserver");
        fs::write(dir.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file");
        openssl("x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out tls.crt -extfile san");
        let tokens = format!(
            "{},admin,1,\"system:masters\"\n{},system:serviceaccount:default:spilo,2,\"system:serviceaccounts,system:serviceaccounts:default\"\n",
            self.admin_token, self.pod_token
        );
        fs::write(dir.join("tokens.csv"), tokens).expect("a file");
    }

    /// Starts the API server and waits until it is ready.
    pub fn up(&self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.dir.path())
            .arg(format!("--etcd-servers={}", self.etcd.url(0)))
            .args(["--bind-address=127.0.0.1", &format!("--secure-port={}", self.address.port())])
            // A loopback address is refused here; nothing uses this one.
            .args(["--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"])
            .args([
                "--service-cluster-ip-range=10.96.0.0/16",
                "--tls-cert-file=tls.crt",
                "--tls-private-key-file=tls.key",
            ])
            .args(["--token-auth-file=tokens.csv", "--service-account-issuer=https://kubernetes.default.svc"])
            .args(["--client-ca-file=ca.crt"])
            .args(["--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key"])
            .args(["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        // SAFETY: prctl is a bare system call, so it is safe between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        *self.child() = Some(command.spawn().expect("the API server starts"));
        let ready = || (self.try_admin("GET", "/readyz", None).ok()?.status == 200).then_some(());
        if wait::poll(READY_WITHIN, ready).is_none() {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("the API server was not ready within {READY_WITHIN:?}; it said last:\n{}", tail.join("\n"));
        }
    }

    /// SIGKILL.
    pub fn down(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn freeze(&self) {
        process::freeze(self.pid());
    }

    pub fn thaw(&self) {
        process::thaw(self.pid());
    }

    fn pid(&self) -> i32 {
        let id = self.child().as_ref().map(Child::id).expect("the API server runs");
        i32::try_from(id).expect("process ids are small")
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("apiserver.log")
    }

    /// A request as administrator; what is not 2xx is a panic.
    pub fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.try_admin(method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    pub fn try_admin(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "20", "-w", "\n%{http_code}", "-X", method, "--cacert"]).arg(self.ca());
        command.args(["-H", &format!("Authorization: Bearer {}", self.admin_token)]);
        let kind = if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
        command.args(["-H", &format!("Content-Type: {kind}")]);
        if let Some(body) = body {
            command.args(["-d", &body.to_string()]);
        }
        let out = command.arg(format!("{}{path}", self.url())).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').ok_or("no answer")?;
        let status = status.parse().map_err(|_| format!("no status in {text:?}"))?;
        if status == 0 {
            return Err(format!("curl: {}", out.status));
        }
        Ok(Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) })
    }

    pub fn namespace(&self, name: &str) {
        self.admin("POST", "/api/v1/namespaces", Some(&json!({"metadata": {"name": name}})));
    }

    /// A role with these rules for the pods' account, in this namespace. A second call replaces the rules.
    pub fn permit(&self, namespace: &str, rules: &Value) {
        let base = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let role = json!({"metadata": {"name": "postgres-pod"}, "rules": rules});
        // Makes it, too.
        self.admin("PUT", &format!("{base}/roles/postgres-pod"), Some(&role));
        let binding = json!({
            "metadata": {"name": "postgres-pod"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "postgres-pod"},
            "subjects": [{"kind": "ServiceAccount", "name": "spilo", "namespace": "default"}],
        });
        let bound = self.try_admin("POST", &format!("{base}/rolebindings"), Some(&binding)).expect("an answer");
        assert!([201, 409].contains(&bound.status), "{}", bound.body);
        self.wait_permitted(namespace, rules);
    }

    /// The API server takes a moment to notice a role.
    fn wait_permitted(&self, namespace: &str, rules: &Value) {
        for rule in rules.as_array().into_iter().flatten() {
            let attributes =
                json!({"namespace": namespace, "resource": rule["resources"][0], "verb": rule["verbs"][0]});
            wait::until("the role is in force", READY_WITHIN, || self.permitted(&attributes));
        }
    }

    /// Requests of each verb that the API server has answered on the cluster's kinds since its start. A watch counts when
    /// it ends.
    pub fn requests(&self) -> std::collections::BTreeMap<String, u64> {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "20", "--cacert"]).arg(self.ca());
        command.args(["-H", &format!("Authorization: Bearer {}", self.admin_token)]);
        let out = command.arg(format!("{}/metrics", self.url())).output().expect("curl starts");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let label = |line: &str, name: &str| -> Option<String> {
            Some(line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.to_owned())
        };
        let mut requests = std::collections::BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let (Some(verb), Some(resource)) = (label(line, "verb"), label(line, "resource")) else { continue };
            let count = line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) as u64;
            if ["pods", "configmaps", "endpoints"].contains(&resource.as_str()) {
                *requests.entry(format!("{verb} {resource}")).or_default() += count;
            }
        }
        requests
    }

    /// Whether the pods' account may do this.
    pub fn permitted(&self, attributes: &Value) -> bool {
        let user = "system:serviceaccount:default:spilo";
        let review = json!({"spec": {"user": user, "resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        self.admin("POST", path, Some(&review))["status"]["allowed"] == true
    }

    /// A pod as a kubelet would show it: running, with this address.
    pub fn pod(&self, namespace: &str, name: &str, labels: &Value, ip: &str) {
        let base = format!("/api/v1/namespaces/{namespace}/pods");
        let pod = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "postgres", "image": "none"}], "automountServiceAccountToken": false},
        });
        self.admin("POST", &base, Some(&pod));
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
        self.admin("PATCH", &format!("{base}/{name}/status"), Some(&status));
    }

    /// An object of a namespace, `None` when there is none.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/{kind}/{name}");
        let answer = self.try_admin("GET", &path, None).expect("an answer");
        (answer.status == 200).then_some(answer.body)
    }

    /// Patches an object as administrator.
    pub fn patch(&self, namespace: &str, kind: &str, name: &str, body: &Value) {
        self.admin("PATCH", &format!("/api/v1/namespaces/{namespace}/{kind}/{name}"), Some(body));
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        self.down();
    }
}

fn seed(n: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id())).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n)
}
