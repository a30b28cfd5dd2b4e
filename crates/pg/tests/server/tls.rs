//! Connections over TLS, as libpq's sslmode asks for them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jogi_core::ha::Mode;
use jogi_pg::connect::{Connection, Purpose, Target};
use serde_json::json;

use crate::common::{LONG, Place, can};

#[tokio::test]
async fn every_sslmode_means_what_it_means_to_libpq() {
    if !can() {
        return;
    }
    let place = Place::new();
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let (cert, key) = (place.path().join("server.crt"), place.path().join("server.key"));
    fs::write(&cert, certificate.cert.pem()).expect("written");
    fs::write(&key, certificate.signing_key.serialize_pem()).expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("ours");
    let mut member = place.member("a");
    member.bootstrap().await;
    let plain = try_with(&member.instance.local_target(Purpose::Work), &[("sslmode", "require")]).await;
    assert!(plain.expect_err("no TLS").contains("sslmode requires it"));
    member.stop();
    member.set_dynamic(json!({"postgresql": {"parameters": {"ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key},
        "pg_hba": ["local all all trust", "hostssl all all 127.0.0.1/32 scram-sha-256"]}}));
    let setup = member.setup(Mode::Primary);
    member.start(&setup).await;
    let target = member.instance.local_target(Purpose::Work);
    let root = cert.to_string_lossy().into_owned();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for parameters in [
        &[("sslmode", "prefer")][..],
        &[("sslmode", "allow")],
        &[("sslmode", "require"), ("channel_binding", "require")],
        &[("sslmode", "verify-ca"), ("sslrootcert", &root)],
        &[("sslmode", "verify-full"), ("sslrootcert", &root)],
    ] {
        let mut connection = try_with(&target, parameters).await.unwrap_or_else(|e| panic!("{parameters:?}: {e}"));
        let rows = connection.query(encrypted, LONG).await.expect("answered");
        assert_eq!(rows[0].get(0), Some("t"), "{parameters:?}");
    }
    let refused = try_with(&target, &[("sslmode", "disable")]).await.expect_err("hostssl only");
    assert!(refused.contains("no pg_hba.conf entry"), "{refused}");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let wrong = place.path().join("other.crt");
    fs::write(&wrong, other.cert.pem()).expect("written");
    let wrong = wrong.to_string_lossy().into_owned();
    let refused = try_with(&target, &[("sslmode", "verify-ca"), ("sslrootcert", &wrong)]).await.expect_err("unknown");
    assert!(refused.contains("TLS with PostgreSQL"), "{refused}");
    let unbound = try_with(&target, &[("sslmode", "disable"), ("channel_binding", "require")]).await;
    unbound.expect_err("no TLS, no binding");
}

async fn try_with(target: &Target, parameters: &[(&str, &str)]) -> Result<Connection, String> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let address = match &target.address {
        // The certificate is for a name.
        jogi_pg::connect::Address::Tcp(_, port) => jogi_pg::connect::Address::Tcp("localhost".into(), *port),
        other @ jogi_pg::connect::Address::Unix(..) => other.clone(),
    };
    let target = Target { parameters, address, ..target.clone() };
    Connection::open(&target, LONG).await.map_err(|e| e.to_string())
}
