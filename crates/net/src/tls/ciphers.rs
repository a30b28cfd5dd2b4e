//! Ciphers in OpenSSL's notation (`HIGH:!aNULL:ECDHE+AESGCM`), as far as they choose among those that rustls has.
//!
//! As with OpenSSL the list counts for TLS 1.2 alone; TLS 1.3 has no bad ones. Six are left to choose from: ephemeral
//! keys, authenticated encryption. A list that allows none of them leaves TLS 1.3.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite};

use super::TlsError;

/// One of the six: OpenSSL's name, and the words that mean it among others.
struct Suite {
    suite: CipherSuite,
    name: &'static str,
    signed: &'static [&'static str],
    cipher: &'static [&'static str],
}

const SUITES: [Suite; 6] = [
    suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", ECDSA, AES256),
    suite(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", RSA, AES256),
    suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", ECDSA, CHACHA),
    suite(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", RSA, CHACHA),
    suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", ECDSA, AES128),
    suite(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", RSA, AES128),
];
const ECDSA: &[&str] = &["aECDSA", "ECDSA"];
/// `RSA` alone means the exchange of keys by RSA, which is none of ours.
const RSA: &[&str] = &["aRSA"];
const AES256: &[&str] = &["AES256", "AESGCM", "AES", "FIPS"];
const AES128: &[&str] = &["AES128", "AESGCM", "AES", "FIPS"];
const CHACHA: &[&str] = &["CHACHA20"];
/// Words that mean all six.
const ALL: [&str; 9] = ["ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH"];

const fn suite(
    suite: CipherSuite,
    name: &'static str,
    signed: &'static [&'static str],
    cipher: &'static [&'static str],
) -> Suite {
    Suite { suite, name, signed, cipher }
}

/// The provider with those ciphers alone, in the list's order.
pub(super) fn limited(provider: &CryptoProvider, list: &str) -> Result<CryptoProvider, TlsError> {
    let chosen = chosen(list).map_err(|cause| TlsError::Ciphers { list: list.into(), cause })?;
    let (newer, older): (Vec<SupportedCipherSuite>, Vec<_>) =
        provider.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_some());
    let find = |wanted: &CipherSuite| older.iter().copied().find(|suite| suite.suite() == *wanted);
    let cipher_suites = newer.into_iter().chain(chosen.iter().filter_map(find)).collect();
    if chosen.is_empty() {
        tracing::warn!(
            "restapi.ciphers {list:?} allows no cipher of TLS 1.2 that is known here: only TLS 1.3 is offered"
        );
    }
    Ok(CryptoProvider { cipher_suites, ..provider.clone() })
}

/// The suites that a list leaves, in its order.
fn chosen(list: &str) -> Result<Vec<CipherSuite>, String> {
    let mut selection = Selection::default();
    for item in list.split([':', ',', ' ', ';']).filter(|item| !item.is_empty()) {
        match item.split_once('@') {
            Some((words, "STRENGTH")) => {
                selection.apply(words);
                selection.chosen.sort_by_key(|suite| meant("AES128").contains(suite));
            }
            // A security level, which all six satisfy up to 3.
            Some((words, _)) => selection.apply(words),
            None => selection.apply(item),
        }
    }
    match list.trim().is_empty() {
        true => Err("it names no cipher".into()),
        false => Ok(selection.chosen),
    }
}

#[derive(Default)]
struct Selection {
    chosen: Vec<CipherSuite>,
    /// Excluded for good.
    banned: Vec<CipherSuite>,
}

impl Selection {
    fn apply(&mut self, item: &str) {
        match item.split_at_checked(1) {
            Some(("!", words)) => {
                self.remove(&meant(words));
                self.banned.extend(meant(words));
            }
            Some(("-", words)) => self.remove(&meant(words)),
            Some(("+", words)) => self.put_last(&meant(words)),
            _ => self.add(meant(item)),
        }
    }

    fn remove(&mut self, meant: &[CipherSuite]) {
        self.chosen.retain(|suite| !meant.contains(suite));
    }

    fn put_last(&mut self, meant: &[CipherSuite]) {
        self.chosen.sort_by_key(|suite| meant.contains(suite));
    }

    fn add(&mut self, meant: Vec<CipherSuite>) {
        for suite in meant {
            if !self.banned.contains(&suite) && !self.chosen.contains(&suite) {
                self.chosen.push(suite);
            }
        }
    }
}

/// Those that all the words joined by `+` mean. A word that is not known here means none: its ciphers are none of ours.
fn meant(words: &str) -> Vec<CipherSuite> {
    let means = |suite: &Suite, word: &str| {
        suite.name == word || ALL.contains(&word) || suite.signed.contains(&word) || suite.cipher.contains(&word)
    };
    SUITES.iter().filter(|suite| words.split('+').all(|word| means(suite, word))).map(|suite| suite.suite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What OpenSSL 3.0 makes of the same lists (`openssl ciphers -tls1_2`), of the six.
    #[test]
    fn lists_are_read_as_openssl_reads_them() {
        let name = |suite: &CipherSuite| SUITES.iter().find(|s| s.suite == *suite).expect("one of ours").name;
        let (e256, r256, ecc, rcc, e128, r128) = SUITES.each_ref().map(|suite| suite.name).into();
        for (list, expected) in [
            ("HIGH", vec![e256, r256, ecc, rcc, e128, r128]),
            ("DEFAULT@SECLEVEL=2", vec![e256, r256, ecc, rcc, e128, r128]),
            ("HIGH:@STRENGTH", vec![e256, r256, ecc, rcc, e128, r128]),
            ("ECDHE-RSA-AES128-GCM-SHA256", vec![r128]),
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE+AES256", vec![r128, e256, r256]),
            ("HIGH:!aNULL:!AES256", vec![ecc, rcc, e128, r128]),
            ("HIGH:-CHACHA20:CHACHA20", vec![e256, r256, e128, r128, ecc, rcc]),
            ("HIGH:!CHACHA20:CHACHA20", vec![e256, r256, e128, r128]),
            ("ALL:+AES256", vec![ecc, rcc, e128, r128, e256, r256]),
            ("ECDHE+AESGCM+aRSA", vec![r256, r128]),
            ("FIPS", vec![e256, r256, e128, r128]),
            ("ECDHE-RSA-AES128-GCM-SHA256:HIGH:@STRENGTH", vec![e256, r256, ecc, rcc, r128, e128]),
            ("RSA", vec![]),
            ("AES128-SHA", vec![]),
            ("ECDSA+SHA256", vec![]),
            ("ALL:!ECDSA", vec![r256, rcc, r128]),
        ] {
            let found = chosen(list).expect(list);
            assert_eq!(found.iter().map(name).collect::<Vec<_>>(), expected, "{list}");
        }
        assert!(chosen(" ").is_err());
    }

    #[test]
    fn tls_1_3_is_always_offered() {
        let limited = limited(&rustls::crypto::ring::default_provider(), "ECDHE+CHACHA20").expect("a list");
        let older = limited.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count();
        assert_eq!((limited.cipher_suites.len() - older, older), (3, 2));
    }
}
