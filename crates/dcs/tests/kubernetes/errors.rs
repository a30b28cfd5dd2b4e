//! Everything that can be wrong with the access, on a real server: each is a sentence, and none shows a secret.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jogi_core::view::{Key, Write};
use jogi_dcs::kubernetes::{Access, Credentials, Kubernetes};
use jogi_dcs::{Dcs, DcsError, Freshness};
use jogi_testkit::kube::{Kube, operator_rules};
use jogi_testkit::wait;
use serde_json::json;

use crate::fixture::Place;

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(700);

fn client(place: &Place, access: Access) -> Kubernetes {
    let options = jogi_dcs::kubernetes::KubernetesOptions { access, ..place.options("demo", "a", &place.section()) };
    Kubernetes::new(options).expect("valid options")
}

async fn refusal(dcs: &dyn Dcs, deadline: Duration) -> (DcsError, String) {
    let error = dcs.load(Freshness::Linearizable, deadline).await.expect_err("refused");
    let text = error.to_string();
    (error, text)
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_is_a_sentence_with_what_to_do() {
    let Some(kube) = Kube::start() else { return };
    let kube = Arc::new(kube);
    let place = Place::new(&kube, "errors", false);
    a_wrong_token(&place).await;
    a_token_that_was_replaced(&place).await;
    a_wrong_address(&place).await;
    another_authority(&place).await;
    an_expired_client_certificate(&place).await;
    an_unknown_namespace(&place).await;
    a_missing_permission(&place).await;
    a_pod_that_is_not_there(&place).await;
    data_of_the_other_kind(&kube).await;
}

async fn a_wrong_token(place: &Place) {
    let secret = "s3cr3t-t0ken";
    let access = Access { credentials: Credentials::Token(secret.into()), ..place.access() };
    let (error, text) = refusal(&client(place, access), SOON).await;
    assert!(matches!(error, DcsError::Denied { .. }), "{error:?}");
    says(&text, &["list", &place.kube.url(), "Unauthorized", "token or certificate is wrong or has expired"]);
    assert!(!text.contains(secret) && !format!("{error:?}").contains(secret));
}

/// The file is younger than what was read of it: nobody sees the refusal.
async fn a_token_that_was_replaced(place: &Place) {
    let token = place.kube.dir().join("rotated");
    std::fs::write(&token, &place.kube.pod_token).expect("written");
    let kubeconfig = format!(
        "clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: ca.crt}}}}]\n\
         users: [{{name: u, user: {{tokenFile: rotated}}}}]\n\
         contexts: [{{name: rotated, context: {{cluster: c, user: u}}}}]\n",
        place.kube.url()
    );
    let path = place.kube.dir().join("rotated.kubeconfig");
    std::fs::write(&path, kubeconfig).expect("written");
    std::fs::write(&token, "it-was-valid-once").expect("written");
    let dcs = client(place, Access::kubeconfig(&path, Some("rotated")).expect("a kubeconfig"));
    let (error, _) = refusal(&dcs, SOON).await;
    assert!(matches!(error, DcsError::Denied { .. }), "{error:?}");
    std::fs::write(&token, &place.kube.pod_token).expect("written");
    dcs.load(Freshness::Linearizable, SOON).await.expect("the new token is read");
    std::fs::write(&token, "it-was-valid-once").expect("written");
    dcs.load(Freshness::Linearizable, SOON).await.expect("it is not read for every request");
}

async fn a_wrong_address(place: &Place) {
    let access = Access { server: "https://127.0.0.1:9".into(), ..place.access() };
    let (error, text) = refusal(&client(place, access), SHORT).await;
    assert!(matches!(error, DcsError::Unreachable { .. }), "{error:?}");
    says(&text, &["https://127.0.0.1:9", "refused"]);
}

async fn another_authority(place: &Place) {
    let dir = place.kube.dir();
    openssl(place, "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -days 3 -subj /CN=other");
    let access = place.access();
    let other = Access::plain(access.server.clone(), Some(dir.join("other.crt")));
    let (error, text) = refusal(&client(place, Access { credentials: access.credentials, ..other }), SHORT).await;
    assert!(matches!(error, DcsError::Unreachable { .. }), "{error:?}");
    says(&text, &["certificate"]);
}

/// Signed for a day that is over.
async fn an_expired_client_certificate(place: &Place) {
    openssl(place, "req -newkey rsa:2048 -nodes -keyout old.key -out old.csr -subj /CN=admin");
    openssl(place, "x509 -req -in old.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days -1 -out old.crt");
    let dir = place.kube.dir();
    let kubeconfig = format!(
        "clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: ca.crt}}}}]\n\
         users: [{{name: u, user: {{client-certificate: old.crt, client-key: old.key}}}}]\n\
         contexts: [{{name: old, context: {{cluster: c, user: u}}}}]\n",
        place.kube.url()
    );
    let path = dir.join("old.kubeconfig");
    std::fs::write(&path, kubeconfig).expect("written");
    let access = Access::kubeconfig(&path, Some("old")).expect("a kubeconfig");
    let (error, text) = refusal(&client(place, access), SHORT).await;
    assert!(matches!(error, DcsError::Denied { .. }), "{error:?}");
    says(&text, &["Unauthorized", "expired"]);
}

async fn an_unknown_namespace(place: &Place) {
    let elsewhere = Place { namespace: "nowhere".into(), ..place.clone() };
    let (error, text) = refusal(&client(&elsewhere, elsewhere.access()), SOON).await;
    assert!(matches!(error, DcsError::Forbidden { .. }), "a role says nothing of other namespaces: {error:?}");
    says(&text, &["nowhere", "does not permit it", "docs/kubernetes.md"]);
    // Who may everything learns it at the first write.
    let admin = Access { credentials: Credentials::Token(place.kube.admin_token.clone()), ..place.access() };
    let write = Write::put(Key::Config, "{}");
    let error = client(&elsewhere, admin).write(&write, SOON).await.expect_err("refused");
    says(&error.to_string(), &["namespaces \"nowhere\" not found"]);
}

async fn a_missing_permission(place: &Place) {
    let mut rules = operator_rules("configmaps");
    rules[1]["verbs"] = json!(["get", "list", "watch"]);
    place.kube.permit(&place.namespace, &rules);
    let patch = json!({"namespace": place.namespace, "resource": "pods", "verb": "patch"});
    wait::until("the role is in force", Duration::from_secs(30), || !place.kube.permitted(&patch));
    let dcs = client(place, place.access());
    dcs.load(Freshness::Linearizable, SOON).await.expect("reading is permitted");
    let error = dcs.write(&Write::put(Key::Member("a".into()), "{}"), SOON).await.expect_err("refused");
    assert!(matches!(error, DcsError::Forbidden { .. }), "{error:?}");
    says(&error.to_string(), &["cannot patch resource \"pods\"", "namespace \"errors\"", "give our account a role"]);
    place.kube.permit(&place.namespace, &operator_rules("configmaps"));
    wait::until("the role is in force", Duration::from_secs(30), || place.kube.permitted(&patch));
}

async fn a_pod_that_is_not_there(place: &Place) {
    let dcs = client(place, place.access());
    let error = dcs.write(&Write::put(Key::Member("nobody".into()), "{}"), SOON).await.expect_err("refused");
    says(&error.to_string(), &["pods \"nobody\" not found", "name must be the pod's name", "errors"]);
}

async fn data_of_the_other_kind(kube: &Arc<Kube>) {
    let configmaps = Place::new(kube, "both", false);
    let (on_configmaps, on_endpoints) = (operator_rules("configmaps"), operator_rules("endpoints"));
    let both: Vec<_> =
        [&on_configmaps, &on_endpoints].into_iter().flat_map(|r| r.as_array().cloned()).flatten().collect();
    kube.permit("both", &json!(both));
    let endpoints = Place { endpoints: true, ..configmaps.clone() };
    let write = Write::put(Key::Initialize, "7612345678901234567");
    client(&configmaps, configmaps.access()).write(&write, SOON).await.expect("written");
    let (error, text) = refusal(&client(&endpoints, endpoints.access()), SOON).await;
    assert!(matches!(error, DcsError::Refused { .. }), "{error:?}");
    says(&text, &["lies in configmaps", "asks for endpoints", "kubernetes.use_endpoints"]);
    // The operator's role does not allow a look: nothing can be said then.
    kube.permit("both", &on_endpoints);
    let look = json!({"namespace": "both", "resource": "configmaps", "verb": "get"});
    wait::until("the role is in force", Duration::from_secs(30), || !kube.permitted(&look));
    client(&endpoints, endpoints.access()).load(Freshness::Linearizable, SOON).await.expect("an empty cluster");
}

fn openssl(place: &Place, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(place.kube.dir()).output();
    let done = done.expect("openssl starts");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}
