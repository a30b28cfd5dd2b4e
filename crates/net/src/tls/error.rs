//! What can be wrong with certificates and keys on disk.

use std::path::PathBuf;

/// A TLS configuration that cannot be built. Names files, never their content.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not PEM: {cause}", path.display())]
    NotPem { path: PathBuf, cause: String },
    #[error("{} holds no certificate (expected a block BEGIN CERTIFICATE)", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key (expected a block BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY)", path.display())]
    NoKey { path: PathBuf },
    #[error("the private key in {} is encrypted and no password is configured", path.display())]
    KeyNeedsPassword { path: PathBuf },
    #[error("cannot decrypt the private key in {}: {cause}; is the configured password right?", path.display())]
    WrongPassword { path: PathBuf, cause: String },
    #[error(
        "the private key in {} is encrypted in OpenSSL's old form with {cipher}, which cannot be read (AES and triple DES can); convert \
         it with: openssl pkcs8 -topk8 -in OLD -out NEW",
        path.display()
    )]
    OldKeyEncryption { path: PathBuf, cipher: String },
    #[error("the certificate in {} cannot be parsed: {cause}", path.display())]
    BadCertificate { path: PathBuf, cause: String },
    #[error("the certificate in {} and its private key cannot be used: {cause}; do they belong together?", path.display())]
    Unusable { path: PathBuf, cause: rustls::Error },
    #[error("restapi.ciphers {list:?} cannot be used: {cause}")]
    Ciphers { list: String, cause: String },
    #[error("no CA file is configured and the system has no usable CA certificates: {cause}")]
    NoSystemRoots { cause: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}
