//! TLS as libpq's `sslmode` asks for it, and the channel binding that SCRAM takes from it.

use std::path::PathBuf;
use std::sync::Arc;

use jogi_net::tls::{ClientTls, Verify};
use rustls::ClientConfig;
use rustls::crypto::hash::Hash;
use rustls::pki_types::CertificateDer;

use super::Target;

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Never,
    /// `allow`: only when the server insists.
    OnDemand,
    /// When the server can.
    Preferred,
    Required,
}

/// How a connection is to be encrypted.
pub struct Plan {
    pub mode: Mode,
    /// No negotiation before the handshake (PostgreSQL ≥ 17).
    pub direct: bool,
}

impl Plan {
    /// `Err` names a value that libpq does not know either.
    pub fn of(target: &Target) -> Result<Plan, String> {
        let mode = match target.parameter("sslmode").unwrap_or("prefer") {
            "disable" => Mode::Never,
            "allow" => Mode::OnDemand,
            "prefer" => Mode::Preferred,
            "require" | "verify-ca" | "verify-full" => Mode::Required,
            other => return Err(format!("sslmode '{other}' is unknown")),
        };
        let direct = target.parameter("sslnegotiation") == Some("direct") && mode == Mode::Required;
        Ok(Plan { mode, direct })
    }
}

/// The client's configuration for this target: certificates are read anew, because they are renewed on disk.
pub fn client_config(target: &Target) -> Result<Arc<ClientConfig>, String> {
    let root = target.parameter("sslrootcert");
    let verify = match target.parameter("sslmode") {
        Some("verify-full") => Verify::Full,
        Some("verify-ca") => Verify::ChainOnly,
        // As libpq: `require` with a CA file is verify-ca.
        Some("require") if root.is_some() => Verify::ChainOnly,
        Some(_) | None => Verify::Nothing,
    };
    let options = ClientTls {
        ca: match root {
            Some("system") => None,
            Some(path) => Some(PathBuf::from(path)),
            None => home_file("root.crt"),
        },
        cert: target.parameter("sslcert").map(PathBuf::from).or_else(|| existing("postgresql.crt")),
        key: target.parameter("sslkey").map(PathBuf::from).or_else(|| existing("postgresql.key")),
        key_password: target.parameter("sslpassword").map(str::to_owned),
        verify,
    };
    let mut config = options.build().map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Arc::new(config))
}

fn home_file(name: &str) -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".postgresql").join(name))
}

fn existing(name: &str) -> Option<PathBuf> {
    home_file(name).filter(|path| path.is_file())
}

/// `tls-server-end-point` (RFC 5929): the certificate's hash by the hash of its own signature. `None` for
/// signatures whose hash we cannot make: then there is no channel binding.
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let hash: &dyn Hash = match signature_algorithm(certificate)? {
        // md5, sha1 and sha256 with RSA; sha1 and sha256 with ECDSA: RFC 5929 raises the weak ones to SHA-256.
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 4 | 5 | 11]
        | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01]
        | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 2] => sha256()?,
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 12] | [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 3] => {
            sha384()?
        }
        _ => return None,
    };
    Some(hash.hash(certificate).as_ref().to_vec())
}

fn sha256() -> Option<&'static dyn Hash> {
    Some(rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?.common.hash_provider)
}

fn sha384() -> Option<&'static dyn Hash> {
    Some(rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384.tls13()?.common.hash_provider)
}

/// The object identifier in `Certificate.signatureAlgorithm`, DER-encoded.
fn signature_algorithm<'c>(certificate: &'c CertificateDer<'_>) -> Option<&'c [u8]> {
    let (whole, _) = element(certificate, 0x30)?;
    let (_to_be_signed, rest) = element(whole, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    Some(element(algorithm, 0x06)?.0)
}

/// One DER element with this tag: its contents, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let (digits, behind) = rest.split_at_checked(length - 0x80)?;
        length = digits.iter().try_fold(0_usize, |sum, digit| sum.checked_mul(256)?.checked_add((*digit).into()))?;
        rest = behind;
    }
    let (contents, behind) = rest.split_at_checked(length)?;
    (*found == tag).then_some((contents, behind))
}
