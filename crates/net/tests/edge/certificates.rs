//! Certificates on disk for the tests.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// One certificate with its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A directory with a CA and what it signs.
pub struct Authority {
    pub dir: TempDir,
    pub ca: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("signed");
        let ca = dir.path().join("ca.pem");
        fs::write(&ca, cert.pem()).expect("written");
        Authority { dir, ca, issuer: Issuer::new(params, key) }
    }

    /// A certificate of this authority; `years` is when it ends.
    pub fn sign(&self, file: &str, name: &str, until_year: i32) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params(name, until_year).signed_by(&key, &self.issuer).expect("signed");
        self.store(file, &cert.pem(), &key)
    }

    /// A certificate that is its own authority, as `openssl req -x509` makes it.
    pub fn self_signed(&self, file: &str, name: &str, until_year: i32) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(name, until_year);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).expect("signed");
        self.store(file, &cert.pem(), &key)
    }

    fn store(&self, file: &str, cert: &str, key: &KeyPair) -> Pair {
        let pair = Pair {
            cert: self.dir.path().join(format!("{file}.crt")),
            key: self.dir.path().join(format!("{file}.key")),
        };
        fs::write(&pair.cert, cert).expect("written");
        fs::write(&pair.key, key.serialize_pem()).expect("written");
        pair
    }
}

fn params(name: &str, until_year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
