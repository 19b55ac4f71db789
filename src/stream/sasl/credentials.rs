//! What is kept of a password: salted keys, never the password (RFC 5802 §3).

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::stream::sasl::hash::Hash;

/// Iterations for new passwords. RFC 7677 §4 wants at least 4096; servers of
/// the field use 10,000, which a phone computes in a few milliseconds.
pub const ITERATIONS: u32 = 10_000;

/// Iterations that stored keys may have. Fewer protect nothing; more would
/// hold a client up for seconds.
const ITERATIONS_ALLOWED: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

/// Bytes of a salt. RFC 5802 leaves it open; 16 never repeat.
const SALT_BYTES: usize = 16;

/// Bytes of a password; longer ones are refused without hashing them.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The keys for one hash function.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Made at random for this password.
    pub salt: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: u32,
    /// Checks the client's proof.
    pub stored_key: Vec<u8>,
    /// Makes our proof to the client.
    pub server_key: Vec<u8>,
}

/// All that is kept of one account's password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    sha1: Keys,
    sha256: Keys,
    /// The account may not be used for now.
    pub is_disabled: bool,
}

/// A password that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to 1024 bytes and no control characters")]
pub struct NoPassword;

impl Credentials {
    /// Makes the keys of a new password with a random `salt`. Slow on purpose.
    ///
    /// # Errors
    /// [`NoPassword`].
    pub fn of_password(
        password: &str,
        salt: [u8; SALT_BYTES],
        iterations: u32,
    ) -> Result<Self, NoPassword> {
        let prepared = prepare(password)?;
        let keys = |hash: Hash| {
            let salted = Zeroizing::new(hash.salted(prepared.as_bytes(), &salt, iterations));
            let client_key = Zeroizing::new(hash.hmac(&salted, b"Client Key"));
            Keys {
                salt: salt.to_vec(),
                iterations,
                stored_key: hash.of(&client_key),
                server_key: hash.hmac(&salted, b"Server Key"),
            }
        };
        Ok(Self {
            sha1: keys(Hash::Sha1),
            sha256: keys(Hash::Sha256),
            is_disabled: false,
        })
    }

    /// What an account that does not exist seems to have: the same for a name
    /// at every attempt and on every node that has the `secret`, and matched
    /// by no password.
    pub fn made_up(name: &str, secret: &[u8]) -> Self {
        let piece = |label: &str, hash: Hash| {
            let mut data = label.as_bytes().to_vec();
            data.push(0);
            data.extend_from_slice(name.as_bytes());
            hash.hmac(secret, &data)
        };
        let salt: Vec<u8> = piece("salt", Hash::Sha256)
            .into_iter()
            .take(SALT_BYTES)
            .collect();
        let keys = |hash: Hash| Keys {
            salt: salt.clone(),
            iterations: ITERATIONS,
            stored_key: piece("stored", hash),
            server_key: piece("server", hash),
        };
        Self {
            sha1: keys(Hash::Sha1),
            sha256: keys(Hash::Sha256),
            is_disabled: false,
        }
    }

    /// The keys for one hash function, if they are sound.
    pub fn keys(&self, hash: Hash) -> Option<&Keys> {
        let keys = match hash {
            Hash::Sha1 => &self.sha1,
            Hash::Sha256 => &self.sha256,
        };
        let whole = keys.stored_key.len() == hash.length();
        (whole && ITERATIONS_ALLOWED.contains(&keys.iterations)).then_some(keys)
    }

    /// Whether this is the password. Slow on purpose; an unfit password takes
    /// as long as a wrong one.
    pub fn matches(&self, password: &str) -> bool {
        let hash = Hash::Sha256;
        let Some(keys) = self.keys(hash) else {
            return false;
        };
        let prepared = prepare(password);
        let text = prepared.as_ref().map_or("", |prepared| prepared.as_str());
        let salted = Zeroizing::new(hash.salted(text.as_bytes(), &keys.salt, keys.iterations));
        let stored_key = hash.of(&Zeroizing::new(hash.hmac(&salted, b"Client Key")));
        prepared.is_ok() & bool::from(stored_key.ct_eq(&keys.stored_key))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("is_disabled", &self.is_disabled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// SASLprep (RFC 4013), as clients do before they hash.
fn prepare(password: &str) -> Result<Zeroizing<String>, NoPassword> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(NoPassword);
    }
    let prepared = stringprep::saslprep(password).map_err(|_| NoPassword)?;
    if prepared.is_empty() {
        Err(NoPassword)
    } else {
        Ok(Zeroizing::new(prepared.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches() {
        let kept = Credentials::of_password("r0m30 ünd", [7; 16], 4096).expect("a password");
        assert!(kept.matches("r0m30 ünd"));
        for wrong in ["", "r0m30", "r0m30 ünd ", "\u{7}", &"x".repeat(1025)] {
            assert!(!kept.matches(wrong), "{wrong}");
        }
        assert!(!format!("{kept:?}").contains('['), "keys stay out of logs");
    }

    #[test]
    fn a_made_up_account_is_always_the_same_and_nobodys() {
        let once = Credentials::made_up("juliet", b"secret");
        assert_eq!(once, Credentials::made_up("juliet", b"secret"));
        assert_ne!(once, Credentials::made_up("romeo", b"secret"));
        assert_ne!(once, Credentials::made_up("juliet", b"other"));
        assert!(!once.matches("") && !once.matches("secret"));
        assert!(once.keys(Hash::Sha1).is_some() && once.keys(Hash::Sha256).is_some());
    }

    #[test]
    fn keys_with_absurd_iterations_are_none() {
        let mut kept = Credentials::of_password("x", [7; 16], 4096).expect("a password");
        for iterations in [0, 4095, 1_000_001, u32::MAX] {
            kept.sha256.iterations = iterations;
            assert_eq!(kept.keys(Hash::Sha256), None);
            assert!(!kept.matches("x"));
        }
    }
}
