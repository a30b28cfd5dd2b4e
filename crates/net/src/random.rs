//! Randomness for jitter and identifiers, from the kernel.

use std::hash::{BuildHasher, Hasher, RandomState};

use rustix::rand::{GetRandomFlags, getrandom};

/// Sixty-four random bits. Good for jitter and for names that must not collide; not for keys.
pub fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    match getrandom(&mut bytes[..], GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // Only before the kernel's pool is ready, early in boot: std's per-process hash keys do.
        Ok(_) | Err(_) => RandomState::new().build_hasher().finish(),
    }
}
