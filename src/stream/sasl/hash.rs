//! The two hash functions of SCRAM under one roof.

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Which hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// For clients of before 2015.
    Sha1,
    /// For all others.
    Sha256,
}

impl Hash {
    /// The hash of `data`.
    pub fn of(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
        }
    }

    /// HMAC of `data` under `key` (RFC 2104).
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        const ANY: &str = "HMAC takes a key of any length";
        match self {
            Self::Sha1 => {
                let mac = <Hmac<Sha1> as Mac>::new_from_slice(key).expect(ANY);
                mac.chain_update(data).finalize().into_bytes().to_vec()
            }
            Self::Sha256 => {
                let mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect(ANY);
                mac.chain_update(data).finalize().into_bytes().to_vec()
            }
        }
    }

    /// `Hi()` of RFC 5802 §2.2, which is PBKDF2. Slow on purpose: 10,000
    /// iterations take some milliseconds.
    pub fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut salted = vec![0; self.length()];
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut salted),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted),
        }
        salted
    }

    /// Bytes of a hash.
    pub fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}
