//! Self-signed certificates.

use rcgen::{CertificateParams, DnType, KeyPair};

/// Years; PostgreSQL's clients do not check such a certificate, but some look at its end.
const YEARS: i32 = 10;

/// Certificate and key as PEM, for today.
pub(super) fn self_signed(
    common_name: &str,
    host_name: &str,
    today: jiff::civil::Date,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![common_name.to_owned(), host_name.to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let day = |years: i32| {
        let month = u8::try_from(today.month()).unwrap_or(1);
        // The 29th of February is not in every year.
        rcgen::date_time_ymd(i32::from(today.year()) + years, month, u8::try_from(today.day().min(28)).unwrap_or(1))
    };
    params.not_before = day(0);
    params.not_after = day(YEARS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
