//! The same API over TLS, with and without certificates of clients.

use std::path::{Path, PathBuf};

use jogi_core::ha::Reply;
use jogi_net::http::{HttpOptions, client};
use jogi_net::tls::{ClientTls, Verify};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::fixture::{Member, State, configuration};

/// A CA, and certificates of it in files that hold both certificate and key.
struct Certificates {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Certificates {
        let dir = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("a CA");
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
        Certificates { issuer: Issuer::new(params, key), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue(&self, name: &str) -> PathBuf {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".into()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = self.path(name);
        std::fs::write(&path, format!("{}{}", certificate.pem(), key.serialize_pem())).expect("written");
        path
    }

    fn client(&self, certificate: Option<&Path>) -> reqwest::Client {
        let tls = ClientTls {
            ca: Some(self.path("ca.pem")),
            cert: certificate.map(Path::to_owned),
            verify: Verify::Full,
            ..ClientTls::default()
        };
        let options = HttpOptions { tls: Some(tls.build().expect("a TLS client")), ..HttpOptions::default() };
        client(&options).expect("a client")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_clients_open_what_is_protected() {
    let certificates = Certificates::new();
    let (server, ours) = (certificates.issue("server.pem"), certificates.issue("client.pem"));
    let restapi = |verify: &str| {
        format!(
            "  certfile: {}\n  cafile: {}\n  verify_client: {verify}\n  https_extra_headers: {{Strict-Transport-Security: max-age=1}}",
            server.display(),
            certificates.path("ca.pem").display()
        )
    };
    let member = Member::with(State::primary(), &restapi("optional"), Reply::new(202, "reload scheduled")).await;
    let url = format!("https://{}", member.address);
    let (anybody, certified) = (certificates.client(None), certificates.client(Some(&ours)));

    let health = anybody.get(format!("{url}/primary")).send().await.expect("an answer");
    assert_eq!(health.status(), 200);
    assert_eq!(health.headers()["strict-transport-security"], "max-age=1");
    let refused = anybody.post(format!("{url}/reload")).send().await.expect("an answer");
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.text().await.expect("a text"), "client certificate required");
    let accepted = certified.post(format!("{url}/reload")).send().await.expect("an answer");
    assert_eq!(accepted.status(), 202);

    // From now on nobody gets in without a certificate, whatever is asked for, and whoever was in has to come again.
    assert_eq!(anybody.get(format!("{url}/primary")).send().await.expect("an answer").status(), 200);
    member.configuration.send_replace(configuration(member.address.port(), &restapi("required")));
    let begun = std::time::Instant::now();
    while anybody.get(format!("{url}/primary")).send().await.is_ok() {
        assert!(begun.elapsed().as_secs() < 20, "the new TLS options count for connections that were kept");
    }
    let health = certificates.client(Some(&ours)).get(format!("{url}/primary")).send().await.expect("an answer");
    assert_eq!(health.status(), 200);
}
