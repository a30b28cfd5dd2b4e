//! Certificate verifiers with the leniency of OpenSSL that people rely on.
//!
//! OpenSSL accepts a certificate that is itself in the CA file, so one self-signed certificate can be CA,
//! server and client at once, and many small set-ups are made so. webpki refuses it (a CA is no end
//! entity). The verifiers here accept a certificate that is, byte for byte, one of the CA file's, as long
//! as its dates, its purpose and (for a server) its names fit. Certificates of version 1 are judged by
//! [`super::lenient`]; everything else is webpki's verdict.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::lenient::{self, Purpose};
use super::{TlsError, Verify, provider};

/// Verifies a server against a CA file or the system's roots, with or without its name, or not at all.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    verify: Verify,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    /// `trusted`: the certificates of the CA file, empty when `roots` are the system's.
    pub(super) fn new(
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        verify: Verify,
    ) -> Result<ServerVerifier, TlsError> {
        let provider = provider();
        let roots = match verify {
            Verify::Nothing => None,
            Verify::Full | Verify::ChainOnly if roots.is_empty() => None,
            Verify::Full | Verify::ChainOnly => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|e| TlsError::Setup(e.to_string()))?,
            ),
        };
        Ok(ServerVerifier { roots, trusted, verify, provider })
    }

    fn by_roots(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(roots) = &self.roots else { return Err(CertificateError::UnknownIssuer.into()) };
        match roots.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Ok(_) => Ok(()),
            // The chain is verified before the name, so this error says that the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::ChainOnly => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify == Verify::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        if self.trusted.iter().any(|c| c == end_entity) {
            lenient::verify_own(end_entity, Purpose::Server, now)?;
            if self.verify == Verify::Full {
                verify_name(end_entity, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        if let Some(old) = lenient::version_one(end_entity) {
            lenient::verify_signed(&old, &self.trusted, &self.provider.signature_verification_algorithms, now)?;
            return match self.verify {
                Verify::Full => Err(CertificateError::NotValidForName.into()),
                Verify::ChainOnly | Verify::Nothing => Ok(ServerCertVerified::assertion()),
            };
        }
        self.by_roots(end_entity, intermediates, name, ocsp, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        lenient::verify_tls12(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        lenient::verify_tls13(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn verify_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    match lenient::version_one(certificate) {
        Some(_) => Err(CertificateError::NotValidForName.into()),
        None => verify_server_name(&ParsedCertificate::try_from(certificate)?, name),
    }
}

/// Verifies clients against a CA file; a client without a certificate passes when `mandatory` is off. Without a CA file
/// no certificate is good: so does OpenSSL, and agents start that were configured so.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    roots: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
    trusted: Vec<CertificateDer<'static>>,
    mandatory: bool,
}

impl ClientVerifier {
    pub(super) fn new(
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        mandatory: bool,
    ) -> Result<ClientVerifier, TlsError> {
        let provider = provider();
        let roots = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|e| TlsError::Setup(e.to_string()))?,
            ),
        };
        Ok(ClientVerifier { roots, provider, trusted, mandatory })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.roots.as_ref().map_or(&[], |roots| roots.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trusted.iter().any(|c| c == end_entity) {
            lenient::verify_own(end_entity, Purpose::Client, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        if let Some(old) = lenient::version_one(end_entity) {
            lenient::verify_signed(&old, &self.trusted, &self.provider.signature_verification_algorithms, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        match &self.roots {
            Some(roots) => roots.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        lenient::verify_tls12(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        lenient::verify_tls13(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
