//! What OpenSSL takes and webpki does not: certificates of X.509 version 1, and a certificate that is its own authority.
//!
//! `openssl x509 -req` makes version 1 when it is given no extensions, so many small set-ups have them. They say
//! nothing of names and purposes: such a certificate never fits a name, and is good as a client's, or as a server's whose
//! name nobody looks at, when one of the CA file's certificates signed it and its dates fit. It never counts as an
//! authority between.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::{Certificate, Version};

const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// The certificate, when it is of version 1.
pub(super) fn version_one(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    Certificate::from_der(certificate).ok().filter(|parsed| parsed.tbs_certificate.version == Version::V1)
}

/// The certificate's public key.
pub(super) fn public_key(certificate: &Certificate) -> Result<Vec<u8>, Error> {
    certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|_| CertificateError::BadEncoding.into())
}

/// A certificate that the CA file itself holds: its dates, and that it says nothing against this use of it.
pub(super) fn verify_own(certificate: &CertificateDer<'_>, purpose: Purpose, now: UnixTime) -> Result<(), Error> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    verify_dates(&parsed, now)?;
    match allows(&parsed, purpose) {
        true => Ok(()),
        false => Err(CertificateError::InvalidPurpose.into()),
    }
}

/// A certificate of version 1 that one of `trusted` has signed.
pub(super) fn verify_signed(
    certificate: &Certificate,
    trusted: &[CertificateDer<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), Error> {
    verify_dates(certificate, now)?;
    let authorities = trusted.iter().filter_map(|one| Certificate::from_der(one).ok());
    let mut issuers = authorities.filter(|one| one.tbs_certificate.subject == certificate.tbs_certificate.issuer);
    match issuers.any(|issuer| has_signed(&issuer, certificate, algorithms)) {
        true => Ok(()),
        false => Err(CertificateError::UnknownIssuer.into()),
    }
}

fn has_signed(issuer: &Certificate, certificate: &Certificate, algorithms: &WebPkiSupportedAlgorithms) -> bool {
    let key = &issuer.tbs_certificate.subject_public_key_info;
    let (Ok(signed), Some(by)) = (certificate.tbs_certificate.to_der(), bare(&certificate.signature_algorithm)) else {
        return false;
    };
    let fits = |one: &&&dyn rustls::pki_types::SignatureVerificationAlgorithm| one.signature_alg_id().as_ref() == by;
    algorithms
        .all
        .iter()
        .filter(fits)
        .any(|algorithm| verifies(*algorithm, key, &signed, certificate.signature.raw_bytes()))
}

fn verifies(
    algorithm: &dyn rustls::pki_types::SignatureVerificationAlgorithm,
    key: &SubjectPublicKeyInfoOwned,
    message: &[u8],
    signature: &[u8],
) -> bool {
    bare(&key.algorithm).is_some_and(|kind| algorithm.public_key_alg_id().as_ref() == kind)
        && algorithm.verify_signature(key.subject_public_key.raw_bytes(), message, signature).is_ok()
}

/// An algorithm's identifier without the head of its sequence, as webpki writes it.
fn bare(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = algorithm.to_der().ok()?;
    // Identifiers are short: one byte of length.
    der.get(2..).filter(|_| der[1] < 0x80).map(<[u8]>::to_vec)
}

/// The handshake's signature under TLS 1.2.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(parsed) = version_one(certificate) else {
        return verify_tls12_signature(message, certificate, signed, algorithms);
    };
    let Some((_, offered)) = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme) else {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    };
    let key = &parsed.tbs_certificate.subject_public_key_info;
    match offered.iter().any(|algorithm| verifies(*algorithm, key, message, signed.signature())) {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}

/// The handshake's signature under TLS 1.3.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match version_one(certificate) {
        None => verify_tls13_signature(message, certificate, signed, algorithms),
        Some(parsed) => {
            let key = SubjectPublicKeyInfoDer::from(public_key(&parsed)?);
            verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
        }
    }
}

/// OpenSSL's `check_purpose_ssl_server` and `_client`: what a certificate does not say is allowed.
fn allows(certificate: &Certificate, purpose: Purpose) -> bool {
    let tbs = &certificate.tbs_certificate;
    let (Ok(extended), Ok(usage)) = (tbs.get::<ExtendedKeyUsage>(), tbs.get::<KeyUsage>()) else { return false };
    let named = match purpose {
        Purpose::Server => SERVER_AUTH,
        Purpose::Client => CLIENT_AUTH,
    };
    let signs = |usage: &KeyUsage| {
        let enciphers = purpose == Purpose::Server && usage.key_encipherment();
        usage.digital_signature() || usage.key_agreement() || enciphers
    };
    extended.is_none_or(|(_, list)| list.0.contains(&named)) && usage.is_none_or(|(_, usage)| signs(&usage))
}

fn verify_dates(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = certificate.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
