//! TLS on the clients' side, and a server's orderly end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use jogi_net::http::{HttpOptions, client};
use jogi_net::tls::ClientTls;
use jogi_store::{Options, Server};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(dir: &Path, more: &[&str]) -> Options {
    let dir = dir.display().to_string();
    let words = ["store", "--data-dir", &dir].into_iter().chain(more.iter().copied());
    Line::try_parse_from(words).expect("options").options
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).expect("names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    let (cert_file, key_file) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    std::fs::write(&cert_file, cert.pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    (cert_file, key_file)
}

/// Whether a client with these certificates is answered.
async fn is_answered(url: &str, ca: Option<&Path>, own: Option<&(PathBuf, PathBuf)>) -> bool {
    let (cert, key) = own.cloned().unzip();
    let tls = ClientTls { ca: ca.map(Path::to_owned), cert, key, ..ClientTls::default() }.build().expect("TLS options");
    let client = client(&HttpOptions { tls: Some(tls), ..HttpOptions::default() }).expect("a client");
    let sent = client.get(format!("{url}/health")).timeout(Duration::from_secs(10)).send().await;
    sent.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_with_a_certificate_of_the_authority_are_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cert, key) = certificate(dir.path(), "server");
    let (members, strangers) = (certificate(dir.path(), "member"), certificate(dir.path(), "stranger"));
    let path = |path: &Path| path.display().to_string();
    let (cert_text, key_text, ca_text) = (path(&cert), path(&key), path(&members.0));
    let mut words =
        vec!["--listen-client-urls", "https://127.0.0.1:0", "--cert-file", &cert_text, "--key-file", &key_text];
    let open = Server::start(&options(&dir.path().join("open"), &words)).await.expect("a store");
    assert!(is_answered(&open.urls()[0], Some(&cert), None).await);
    assert!(!is_answered(&open.urls()[0], Some(&strangers.0), None).await, "another server's certificate is expected");
    open.stop().await.expect("an orderly end");

    words.extend(["--client-cert-auth", "--trusted-ca-file", &ca_text]);
    let closed = Server::start(&options(&dir.path().join("closed"), &words)).await.expect("a store");
    assert!(is_answered(&closed.urls()[0], Some(&cert), Some(&members)).await);
    assert!(!is_answered(&closed.urls()[0], Some(&cert), Some(&strangers)).await);
    assert!(!is_answered(&closed.urls()[0], Some(&cert), None).await);
    let plain = closed.urls()[0].replace("https", "http");
    assert!(!is_answered(&plain, Some(&cert), None).await);
    closed.stop().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_served_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for (words, expected) in [
        (vec!["--listen-client", "https://127.0.0.1:0"], "needs --cert-file"),
        (vec!["--listen-client", "unix:///run/x"], "unix is not supported"),
        (vec!["--listen-client", "127.0.0.1:0", "--listen-peer", "127.0.0.1:0"], "no peers"),
        (vec!["--listen-client", "192.0.2.1:1"], "cannot listen on 192.0.2.1:1"),
    ] {
        let refused = Server::start(&options(&dir.path().join("data"), &words)).await.err();
        let said = refused.map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was made");
}
