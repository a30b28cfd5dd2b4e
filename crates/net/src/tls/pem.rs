//! Certificates and private keys from PEM files.
//!
//! A file may hold a certificate, its chain and the key together, as Patroni's `certfile` may.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::lenient::{public_key, version_one};
use super::{TlsError, legacy_key, provider};

/// A certificate with its chain and private key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// What rustls shows of it; an error when certificate and key do not belong together. `path`: the certificate's.
    pub(super) fn certified(self, path: &Path) -> Result<Arc<SingleCertAndKey>, TlsError> {
        let unusable = |cause| TlsError::Unusable { path: path.into(), cause };
        let key = provider().key_provider.load_private_key(self.key).map_err(unusable)?;
        let certified = CertifiedKey::new(self.chain, key);
        let matched = match certified.cert.first().and_then(version_one) {
            Some(old) => match certified.key.public_key() {
                Some(key) if key.as_ref() != public_key(&old).map_err(unusable)? => {
                    Err(rustls::InconsistentKeys::KeyMismatch.into())
                }
                Some(_) | None => Ok(()),
            },
            None => certified.keys_match(),
        };
        match matched {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(Arc::new(SingleCertAndKey::from(certified)))
            }
            Err(cause) => Err(unusable(cause)),
        }
    }
}

/// Reads a certificate chain and its key. `key` defaults to the certificate's file; `password` opens a
/// PKCS#8 key encrypted with PBES2 (what `openssl` 3 writes), or one in OpenSSL's older form.
pub fn load_identity(cert: &Path, key: Option<&Path>, password: Option<&str>) -> Result<Identity, TlsError> {
    Ok(Identity { chain: load_certificates(cert)?, key: load_key(key.unwrap_or(cert), password)? })
}

/// Every certificate in a PEM file; at least one.
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|e| TlsError::NotPem { path: path.into(), cause: e.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(found)
}

/// The serial number of the first certificate in a file: what tells a renewed certificate from the old one.
pub fn certificate_serial(path: &Path) -> Result<Vec<u8>, TlsError> {
    let chain = load_certificates(path)?;
    let cert = Certificate::from_der(&chain[0])
        .map_err(|e| TlsError::BadCertificate { path: path.into(), cause: e.to_string() })?;
    Ok(cert.tbs_certificate.serial_number.as_bytes().to_vec())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })
}

fn load_key(path: &Path, password: Option<&str>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") {
        return decrypt(path, &text, password);
    }
    if contains(&text, b"Proc-Type: 4,ENCRYPTED") {
        return legacy_key::decrypt(path, &text, password);
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(TlsError::NoKey { path: path.into() }),
        Err(e) => Err(TlsError::NotPem { path: path.into(), cause: e.to_string() }),
    }
}

/// A PKCS#8 `EncryptedPrivateKeyInfo` block, for which the PEM reader of rustls has no type.
fn decrypt(path: &Path, text: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let password = password.ok_or_else(|| TlsError::KeyNeedsPassword { path: path.into() })?;
    let wrong = |cause: String| TlsError::WrongPassword { path: path.into(), cause };
    let der = encrypted_block(path, text)?;
    let info = EncryptedPrivateKeyInfo::try_from(der.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    let key = info.decrypt(password).map_err(|e| wrong(e.to_string()))?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

fn encrypted_block(path: &Path, text: &[u8]) -> Result<pkcs8::SecretDocument, TlsError> {
    let bad = |cause: String| TlsError::NotPem { path: PathBuf::from(path), cause };
    let text = std::str::from_utf8(text).map_err(|e| bad(e.to_string()))?;
    let (begin, end) = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----");
    let from = text.find(begin).ok_or_else(|| bad("no encrypted key".into()))?;
    let length = text[from..].find(end).ok_or_else(|| bad("the encrypted key has no end".into()))?;
    let block = text[from..from + length + end.len()].replace("\r\n", "\n");
    let (_, der) = pkcs8::SecretDocument::from_pem(&block).map_err(|e| bad(e.to_string()))?;
    Ok(der)
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|w| w == needle)
}
