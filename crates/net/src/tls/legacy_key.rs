//! Private keys encrypted in OpenSSL's form from before PKCS#8 (`Proc-Type: 4,ENCRYPTED`), which its version 1 wrote and
//! every version reads.
//!
//! The header names cipher and initialisation vector; the key is MD5 of password and vector, iterated once
//! (`EVP_BytesToKey`). That is weak against guessing, but not ours to refuse.

use std::path::Path;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use md5::{Digest, Md5};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivateSec1KeyDer};
use x509_cert::der::Decode;
use x509_cert::der::asn1::AnyRef;

use super::TlsError;

pub(super) fn decrypt(path: &Path, text: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |cause: &str| TlsError::WrongPassword { path: path.into(), cause: cause.into() };
    let text = String::from_utf8_lossy(text);
    let Some(block) = Block::find(&text) else {
        return Err(TlsError::NotPem { path: path.into(), cause: "the encrypted key is cut off".into() });
    };
    let (length, open): (usize, Open) = match block.cipher {
        "AES-128-CBC" => (16, open::<aes::Aes128>),
        "AES-192-CBC" => (24, open::<aes::Aes192>),
        "AES-256-CBC" => (32, open::<aes::Aes256>),
        "DES-EDE3-CBC" => (24, open::<des::TdesEde3>),
        other => return Err(TlsError::OldKeyEncryption { path: path.into(), cipher: other.into() }),
    };
    let password = password.ok_or_else(|| TlsError::KeyNeedsPassword { path: path.into() })?;
    let vector = unhex(block.vector).filter(|vector| vector.len() >= 8).ok_or_else(|| wrong("a broken DEK-Info"))?;
    let key = key_of(password.as_bytes(), &vector[..8], length);
    // The encoding of the block, without its headers, is that of any other PEM block.
    let plain_block = format!("-----BEGIN {0}-----\n{1}\n-----END {0}-----\n", block.label, block.body.trim());
    let encrypted = PrivateKeyDer::from_pem_slice(plain_block.as_bytes()).map_err(|e| wrong(&e.to_string()))?;
    let der = open(&key, &vector, encrypted.secret_der()).ok_or_else(|| wrong("it does not open"))?;
    // One wrong password in 256 leaves what looks like a padding.
    AnyRef::from_der(&der).map_err(|_| wrong("what comes out is no key"))?;
    match block.label {
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der))),
        _ => Ok(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der))),
    }
}

/// Key, initialisation vector and what is encrypted, to what it says.
type Open = fn(&[u8], &[u8], &[u8]) -> Option<Vec<u8>>;

struct Block<'a> {
    label: &'a str,
    cipher: &'a str,
    vector: &'a str,
    body: &'a str,
}

impl Block<'_> {
    fn find(text: &str) -> Option<Block<'_>> {
        ["RSA PRIVATE KEY", "EC PRIVATE KEY"].into_iter().find_map(|label| {
            let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
            let (block, _) = rest.split_once(&format!("-----END {label}-----"))?;
            let (_, info) = block.split_once("DEK-Info:")?;
            let (info, body) = info.split_once('\n')?;
            let (cipher, vector) = info.trim().split_once(',')?;
            Some(Block { label, cipher, vector, body })
        })
    }
}

fn open<C>(key: &[u8], vector: &[u8], encrypted: &[u8]) -> Option<Vec<u8>>
where
    cbc::Decryptor<C>: KeyIvInit + BlockDecryptMut,
    C: aes::cipher::BlockCipher + aes::cipher::BlockDecryptMut,
{
    cbc::Decryptor::<C>::new_from_slices(key, vector).ok()?.decrypt_padded_vec_mut::<Pkcs7>(encrypted).ok()
}

/// `EVP_BytesToKey` with MD5 and one round.
fn key_of(password: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key: Vec<u8> = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < length {
        last = Md5::new().chain_update(&last).chain_update(password).chain_update(salt).finalize().to_vec();
        key.extend(&last);
    }
    key.truncate(length);
    key
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}
