//! The server's side of TLS, and certificates that change on disk while it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

use super::verify::ClientVerifier;
use super::{TlsError, certificate_serial, ciphers, load_certificates, load_identity, provider};

/// What a server asks of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    /// No certificate is asked for.
    #[default]
    None,
    /// A certificate is asked for; one that is sent must verify.
    Optional,
    /// No handshake without a certificate that verifies.
    Required,
}

/// A server's TLS options, as they stand in a configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerTls {
    pub cert: PathBuf,
    /// Without it the key stands in the certificate's file.
    pub key: Option<PathBuf>,
    pub key_password: Option<String>,
    /// Whose client certificates are good; without it none is.
    pub ca: Option<PathBuf>,
    pub verify_client: VerifyClient,
    /// Ciphers of TLS 1.2 in OpenSSL's notation; without them all that are safe.
    pub ciphers: Option<String>,
}

impl ServerTls {
    /// Reads the files and builds the configuration.
    pub fn build(&self) -> Result<ServerConfig, TlsError> {
        let identity = load_identity(&self.cert, self.key.as_deref(), self.key_password.as_deref())?;
        let provider = match &self.ciphers {
            Some(list) => Arc::new(ciphers::limited(&provider(), list)?),
            None => provider(),
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Setup(e.to_string()))?;
        let builder = match self.verify_client {
            VerifyClient::None => builder.with_no_client_auth(),
            VerifyClient::Optional => builder.with_client_cert_verifier(Arc::new(self.verifier(false)?)),
            VerifyClient::Required => builder.with_client_cert_verifier(Arc::new(self.verifier(true)?)),
        };
        let mut config = builder.with_cert_resolver(identity.certified(&self.cert)?);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn verifier(&self, mandatory: bool) -> Result<ClientVerifier, TlsError> {
        let trusted = self.ca.as_deref().map_or_else(|| Ok(Vec::new()), load_certificates)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        ClientVerifier::new(roots, trusted, mandatory)
    }
}

/// A server's TLS configuration that can change while connections are accepted with it: a new one counts
/// from the next handshake. Who holds connections learns of it by [`SwappableServerTls::replacements`].
pub struct SwappableServerTls {
    current: ArcSwap<ServerConfig>,
    replaced: watch::Sender<()>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    options: ServerTls,
    serial: Vec<u8>,
}

impl SwappableServerTls {
    pub fn new(options: ServerTls) -> Result<SwappableServerTls, TlsError> {
        let serial = certificate_serial(&options.cert)?;
        let current = ArcSwap::from_pointee(options.build()?);
        Ok(SwappableServerTls {
            current,
            replaced: watch::Sender::new(()),
            loaded: Mutex::new(Loaded { options, serial }),
        })
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Changes with every configuration that takes the place of another.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Takes over changed options or a certificate whose serial changed on disk; `true` when it did.
    /// On an error the old configuration stays.
    pub fn reload(&self, options: &ServerTls) -> Result<bool, TlsError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = certificate_serial(&options.cert)?;
        if loaded.options == *options && loaded.serial == serial {
            return Ok(false);
        }
        self.current.store(Arc::new(options.build()?));
        *loaded = Loaded { options: options.clone(), serial };
        self.replaced.send_replace(());
        Ok(true)
    }
}
