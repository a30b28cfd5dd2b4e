//! Who is trusted by whom.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jogi_net::rustls::pki_types::ServerName;
use jogi_net::rustls::version::{TLS12, TLS13};
use jogi_net::rustls::{ClientConfig, ServerConfig};
use jogi_net::tls::{ClientTls, ServerTls, SwappableServerTls, TlsError, Verify, VerifyClient, certificate_serial};
use pkcs8::der::pem::LineEnding;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates::{Authority, Pair};

fn server(pair: &Pair, ca: Option<&Path>, verify_client: VerifyClient) -> ServerTls {
    let (cert, key) = (pair.cert.clone(), Some(pair.key.clone()));
    ServerTls { cert, key, key_password: None, ca: ca.map(Into::into), verify_client, ciphers: None }
}

fn client(ca: &Path, pair: Option<&Pair>, verify: Verify) -> ClientTls {
    let (cert, key) = (pair.map(|p| p.cert.clone()), pair.map(|p| p.key.clone()));
    ClientTls { ca: Some(ca.into()), cert, key, key_password: None, verify }
}

/// A handshake and one byte in each direction.
async fn talk(server: ServerConfig, client: ClientConfig, name: &str) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = async {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await
    };
    let asking = async {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        stream.write_u8(7).await?;
        stream.read_u8().await
    };
    let (served, asked) = tokio::join!(serving, asking);
    asked.map(drop).map_err(|e| e.to_string())?;
    served.map_err(|e| e.to_string())
}

#[tokio::test]
async fn who_trusts_whom() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let signed = authority.sign("signed", "localhost", 2100);
    let old = authority.sign("old", "localhost", 2001);
    let own = authority.self_signed("own", "localhost", 2100);
    let own_old = authority.self_signed("own-old", "localhost", 2001);
    let foreign = stranger.self_signed("foreign", "localhost", 2100);
    let (full, chain, nothing) = (Verify::Full, Verify::ChainOnly, Verify::Nothing);
    for (what, pair, ca, verify, name, expected) in [
        ("a CA's certificate", &signed, &authority.ca, full, "localhost", None),
        ("another name", &signed, &authority.ca, full, "other", Some("not valid for name")),
        ("another name, chain only", &signed, &authority.ca, chain, "other", None),
        ("another CA", &signed, &stranger.ca, full, "localhost", Some("invalid peer certificate")),
        ("another CA, chain only", &signed, &stranger.ca, chain, "localhost", Some("invalid peer certificate")),
        ("another CA, nobody looks", &signed, &stranger.ca, nothing, "other", None),
        ("expired", &old, &authority.ca, full, "localhost", Some("expired")),
        ("expired, chain only", &old, &authority.ca, chain, "localhost", Some("expired")),
        ("its own CA", &own, &own.cert, full, "localhost", None),
        ("its own CA, another name", &own, &own.cert, full, "other", Some("not valid for name")),
        ("its own CA, another name, chain only", &own, &own.cert, chain, "other", None),
        ("its own CA, expired", &own_old, &own_old.cert, full, "localhost", Some("Expired")),
        ("another's own CA", &foreign, &own.cert, full, "localhost", Some("invalid peer certificate")),
    ] {
        let server = server(pair, None, VerifyClient::None).build().expect("valid");
        let client = client(ca, None, verify).build().expect("valid");
        match (talk(server, client, name).await, expected) {
            (Ok(()), None) => {}
            (Err(e), Some(text)) if e.to_lowercase().contains(&text.to_lowercase()) => {}
            (result, expected) => panic!("{what}: {result:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn which_clients_are_let_in() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let serving = authority.self_signed("serving", "localhost", 2100);
    let signed = authority.sign("signed", "client", 2100);
    let expired = authority.sign("expired", "client", 2001);
    let foreign = stranger.sign("foreign", "client", 2100);
    let (none, optional, required) = (VerifyClient::None, VerifyClient::Optional, VerifyClient::Required);
    for (what, ca, verify, shows, let_in) in [
        ("nobody asks", &authority.ca, none, Some(&foreign), true),
        ("none shown, optional", &authority.ca, optional, None, true),
        ("none shown, required", &authority.ca, required, None, false),
        ("a good one, optional", &authority.ca, optional, Some(&signed), true),
        ("a good one, required", &authority.ca, required, Some(&signed), true),
        ("a stranger's, optional", &authority.ca, optional, Some(&foreign), false),
        ("a stranger's, required", &authority.ca, required, Some(&foreign), false),
        ("an expired one", &authority.ca, required, Some(&expired), false),
        ("the server's own, which is its own CA", &serving.cert, required, Some(&serving), true),
    ] {
        let server = server(&serving, Some(ca), verify).build().expect("valid");
        let client = client(&serving.cert, shows, Verify::Full).build().expect("valid");
        let result = talk(server, client, "localhost").await;
        assert_eq!(result.is_ok(), let_in, "{what}: {result:?}");
    }
}

/// The key as `openssl pkcs8 -topk8` writes it: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC.
fn encrypt(pair: &Pair, password: &str) -> String {
    let text = fs::read_to_string(&pair.key).expect("written");
    let (_, der) = pkcs8::SecretDocument::from_pem(&text).expect("a key");
    let params = pkcs8::pkcs5::pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, b"saltsalt", &[7; 16]).expect("valid");
    let info = pkcs8::PrivateKeyInfo::try_from(der.as_bytes()).expect("PKCS#8");
    let sealed = info.encrypt_with_params(params, password).expect("encrypted");
    sealed.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("PEM").to_string()
}

#[tokio::test]
async fn a_key_with_a_password() {
    let authority = Authority::new();
    let pair = authority.self_signed("own", "localhost", 2100);
    fs::write(&pair.key, encrypt(&pair, "sesame")).expect("written");
    let with = |password: Option<&str>| ServerTls {
        key_password: password.map(Into::into),
        ..server(&pair, None, VerifyClient::None)
    };
    let client = client(&pair.cert, None, Verify::Full).build().expect("valid");
    talk(with(Some("sesame")).build().expect("the password is right"), client, "localhost").await.expect("a talk");
    assert!(matches!(with(None).build(), Err(TlsError::KeyNeedsPassword { .. })));
    let wrong = with(Some("simsim")).build().expect_err("the password is wrong");
    assert!(matches!(&wrong, TlsError::WrongPassword { .. }), "{wrong}");
    assert!(!wrong.to_string().contains("simsim"));
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new();
    let pair = authority.self_signed("own", "localhost", 2100);
    let other = authority.self_signed("other", "localhost", 2100);
    let old = authority.dir.path().join("old.key");
    let triple = fs::read_to_string(from_openssl("v1-des3.key")).expect("a key");
    fs::write(&old, triple.replace("DES-EDE3-CBC", "DES-CBC")).expect("written");
    let missing = authority.dir.path().join("missing.pem");
    for (cert, key, text) in [
        (&missing, &pair.key, "cannot read"),
        (&pair.key, &pair.key, "holds no certificate"),
        (&pair.cert, &pair.cert, "holds no private key"),
        (&pair.cert, &other.key, "do they belong together"),
        (&pair.cert, &old, "openssl pkcs8 -topk8"),
    ] {
        let options =
            ServerTls { cert: cert.clone(), key: Some(key.clone()), ..server(&pair, None, VerifyClient::None) };
        let error = options.build().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains(&*authority.dir.path().to_string_lossy()), "{error}");
    }
}

/// A file of OpenSSL's making.
fn from_openssl(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/openssl").join(name)
}

#[test]
fn keys_in_openssl_s_old_encryption() {
    for name in ["v1-aes128.key", "v1-aes256.key", "v1-des3.key"] {
        let old = Pair { cert: from_openssl("v1.crt"), key: from_openssl(name) };
        let with = |password: Option<&str>| ServerTls {
            key_password: password.map(Into::into),
            ..server(&old, None, VerifyClient::None)
        };
        // That the key is the certificate's is checked, too.
        with(Some("sesame")).build().expect(name);
        assert!(matches!(with(None).build(), Err(TlsError::KeyNeedsPassword { .. })), "{name}");
        let wrong = with(Some("simsim")).build().expect_err(name);
        assert!(matches!(&wrong, TlsError::WrongPassword { .. }), "{name}: {wrong}");
    }
}

#[tokio::test]
async fn certificates_of_version_one_are_good_where_no_name_counts() {
    let (ca, cert, key) = (from_openssl("ca.crt"), from_openssl("v1.crt"), from_openssl("v1.key"));
    let old = Pair { cert, key };
    let strangers = Authority::new();
    let stranger = strangers.ca.clone();
    let serving = |ca: Option<&Path>, verify| server(&old, ca, verify).build().expect("OpenSSL serves it, too");
    for (what, ca, verify, refused) in [
        ("its authority", &ca, Verify::ChainOnly, false),
        ("nobody looks", &stranger, Verify::Nothing, false),
        ("it is its own authority", &old.cert, Verify::ChainOnly, false),
        ("it has no name", &ca, Verify::Full, true),
        ("it is its own authority without a name", &old.cert, Verify::Full, true),
    ] {
        for versions in [&[&TLS12, &TLS13][..], &[&TLS12]] {
            let mut server = serving(Some(&from_openssl("ca.crt")), VerifyClient::Required);
            server.alpn_protocols.clear();
            let client = client(ca, Some(&old), verify).build_for(versions).expect("valid");
            let result = talk(server, client, "localhost").await;
            assert_eq!(result.is_err(), refused, "{what}, {versions:?}: {result:?}");
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_over() {
    let authority = Authority::new();
    let first = authority.self_signed("own", "localhost", 2100);
    let options = server(&first, None, VerifyClient::None);
    let tls = SwappableServerTls::new(options.clone()).expect("valid");
    let before = (certificate_serial(&first.cert).expect("a serial"), tls.current());
    assert!(!tls.reload(&options).expect("valid"), "nothing changed");

    fs::write(&first.key, "half a file").expect("written");
    assert!(!tls.reload(&options).expect("the certificate is the same"), "only the serial counts");
    let second = authority.self_signed("own", "localhost", 2100);
    assert_ne!(certificate_serial(&second.cert).expect("a serial"), before.0);
    let key = fs::read(&second.key).expect("written");
    fs::write(&second.key, "half a file").expect("written");
    tls.reload(&options).expect_err("the key does not fit");
    assert!(Arc::ptr_eq(&tls.current(), &before.1), "the old one stays");
    fs::write(&second.key, key).expect("written");
    assert!(tls.reload(&options).expect("valid"));
    let client = client(&second.cert, None, Verify::Full).build().expect("valid");
    talk((*tls.current()).clone(), client, "localhost").await.expect("the new certificate is served");

    let optional = ServerTls { ca: Some(second.cert.clone()), verify_client: VerifyClient::Optional, ..options };
    assert!(tls.reload(&optional).expect("valid"), "changed options count, too");
}
