//! The client's side of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::DangerousClientConfigBuilder;
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::verify::ServerVerifier;
use super::{TlsError, load_certificates, load_identity, provider};

/// What a client checks of the server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Chain, dates and name (libpq: `verify-full`).
    #[default]
    Full,
    /// Chain and dates, any name (libpq: `verify-ca`).
    ChainOnly,
    /// Nothing: the connection is encrypted, the server may be anybody (libpq: `require` without a CA).
    Nothing,
}

/// A client's TLS options, as they stand in a configuration.
#[derive(Clone, Default)]
pub struct ClientTls {
    /// CA file; without it the system's certificates are trusted.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one.
    pub cert: Option<PathBuf>,
    /// Its key; without it the key stands in the certificate's file.
    pub key: Option<PathBuf>,
    pub key_password: Option<String>,
    pub verify: Verify,
}

impl ClientTls {
    /// Trusts any server. For peers whose certificate nobody verifies (Patroni's agents among themselves).
    pub fn insecure() -> ClientTls {
        ClientTls { verify: Verify::Nothing, ..ClientTls::default() }
    }

    /// Trusts no server at all: what a client for plain HTTP has.
    pub(crate) fn nobody() -> Result<ClientConfig, TlsError> {
        let verifier = ServerVerifier::new(RootCertStore::empty(), Vec::new(), Verify::Full)?;
        Ok(builder(ALL_VERSIONS)?.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }

    /// Reads the files and builds the configuration.
    pub fn build(&self) -> Result<ClientConfig, TlsError> {
        self.build_for(ALL_VERSIONS)
    }

    /// The same for these versions of TLS alone.
    pub fn build_for(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig, TlsError> {
        let builder = builder(versions)?.with_custom_certificate_verifier(Arc::new(self.verifier()?));
        let Some(cert) = &self.cert else { return Ok(builder.with_no_client_auth()) };
        let identity = load_identity(cert, self.key.as_deref(), self.key_password.as_deref())?;
        Ok(builder.with_client_cert_resolver(identity.certified(cert)?))
    }

    fn verifier(&self) -> Result<ServerVerifier, TlsError> {
        if self.verify == Verify::Nothing {
            return ServerVerifier::new(RootCertStore::empty(), Vec::new(), self.verify);
        }
        match &self.ca {
            Some(path) => {
                let trusted = load_certificates(path)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(trusted.iter().cloned());
                ServerVerifier::new(roots, trusted, self.verify)
            }
            None => ServerVerifier::new(system_roots()?, Vec::new(), self.verify),
        }
    }
}

fn builder(versions: &[&'static SupportedProtocolVersion]) -> Result<DangerousClientConfigBuilder, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|e| TlsError::Setup(e.to_string()))?;
    Ok(builder.dangerous())
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        let cause = loaded.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots { cause });
    }
    Ok(roots)
}
