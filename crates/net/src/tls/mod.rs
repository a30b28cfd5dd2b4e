//! TLS from PEM files, with ring as the one crypto provider.
//!
//! Nothing is installed as a process-wide default: every configuration names its provider, so no feature
//! of a dependency can slip another one in.

mod ciphers;
mod client;
mod error;
mod legacy_key;
mod lenient;
mod pem;
mod server;
mod verify;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, Verify};
pub use error::TlsError;
pub use pem::{Identity, certificate_serial, load_certificates, load_identity};
pub use server::{ServerTls, SwappableServerTls, VerifyClient};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
