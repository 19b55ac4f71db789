//! What is kept of a password: salted keys, never the password (RFC 5802 §3).
//!
//! Where they are kept is not its business.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::stream::sasl::hash::Hash;

/// Bytes of a salt. RFC 5802 leaves it open; 16 never repeat.
pub const SALT_BYTES: usize = 16;

/// Bytes of a password; longer ones are refused without hashing them.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// How often a password is hashed, within bounds. Keys that were stored with
/// others are refused where they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Iterations(u32);

/// A number of iterations that protects nothing, or holds a client up for
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password is hashed 4096 to 1000000 times")]
pub struct NoIterations;

/// The keys for one hash function. They are wiped when they are dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Made at random for this password.
    pub salt: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: Iterations,
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

impl Iterations {
    /// RFC 7677 §4; fewer protect nothing.
    const MIN: u32 = 4096;

    /// What a phone still computes within a second. A guess.
    const MAX: u32 = 1_000_000;

    /// How often.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for Iterations {
    /// 10,000, as servers of the field: a phone computes them in a few
    /// milliseconds.
    fn default() -> Self {
        Self(10_000)
    }
}

impl TryFrom<u32> for Iterations {
    type Error = NoIterations;

    fn try_from(number: u32) -> Result<Self, NoIterations> {
        let is_allowed = (Self::MIN..=Self::MAX).contains(&number);
        is_allowed.then_some(Self(number)).ok_or(NoIterations)
    }
}

impl From<Iterations> for u32 {
    fn from(iterations: Iterations) -> Self {
        iterations.0
    }
}

impl Credentials {
    /// Makes the keys of a new password with a random `salt`. Slow on purpose.
    ///
    /// # Errors
    /// [`NoPassword`].
    pub fn from_password(
        password: &str,
        salt: [u8; SALT_BYTES],
        iterations: Iterations,
    ) -> Result<Self, NoPassword> {
        let prepared = prepare(password)?;
        let keys = |hash: Hash| Keys::derive(hash, &prepared, salt.to_vec(), iterations);
        Ok(Self { sha1: keys(Hash::Sha1), sha256: keys(Hash::Sha256), is_disabled: false })
    }

    /// What an account that does not exist seems to have: the same for a name
    /// at every attempt and on every node that has the `secret`, and matched
    /// by no password. Two spellings of one name are one `name`: give it in
    /// its normal form.
    pub fn made_up(name: &str, secret: &[u8], iterations: Iterations) -> Self {
        let piece = |label: &str, hash: Hash| {
            let mut data = label.as_bytes().to_vec();
            data.push(0);
            data.extend_from_slice(name.as_bytes());
            hash.hmac(secret, &data)
        };
        let mut salt = piece("salt", Hash::Sha256);
        salt.truncate(SALT_BYTES);
        let keys = |hash: Hash| Keys {
            salt: salt.clone(),
            iterations,
            stored_key: piece("stored", hash),
            server_key: piece("server", hash),
        };
        Self { sha1: keys(Hash::Sha1), sha256: keys(Hash::Sha256), is_disabled: false }
    }

    /// The keys for one hash function, if they are whole.
    pub fn keys(&self, hash: Hash) -> Option<&Keys> {
        let keys = match hash {
            Hash::Sha1 => &self.sha1,
            Hash::Sha256 => &self.sha256,
        };
        let is_whole = keys.stored_key.len() == hash.length()
            && keys.server_key.len() == hash.length()
            && !keys.salt.is_empty();
        is_whole.then_some(keys)
    }

    /// Whether this is the password. Slow on purpose; an unfit password is not
    /// hashed itself, but takes as long as a wrong one.
    pub fn matches(&self, password: &str) -> bool {
        let hash = Hash::Sha256;
        let Some(keys) = self.keys(hash) else {
            return false;
        };
        let prepared = prepare(password);
        let text = prepared.as_ref().map_or("", |prepared| prepared.as_str());
        let theirs = Keys::derive(hash, text, keys.salt.clone(), keys.iterations);
        prepared.is_ok() & bool::from(theirs.stored_key.ct_eq(&keys.stored_key))
    }
}

impl Keys {
    /// The keys of a password that was prepared (RFC 5802 §3).
    fn derive(hash: Hash, prepared: &str, salt: Vec<u8>, iterations: Iterations) -> Self {
        let salted = hash.salted(prepared.as_bytes(), &salt, iterations.get());
        let salted = Zeroizing::new(salted);
        let client_key = Zeroizing::new(hash.hmac(&salted, b"Client Key"));
        Self {
            salt,
            iterations,
            stored_key: hash.of(&client_key),
            server_key: hash.hmac(&salted, b"Server Key"),
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
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
        f.debug_struct("Keys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// SASLprep (RFC 4013), as clients do before they hash.
fn prepare(password: &str) -> Result<Zeroizing<String>, NoPassword> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(NoPassword);
    }
    let prepared = stringprep::saslprep(password).map_err(|_| NoPassword)?;
    if prepared.is_empty() { Err(NoPassword) } else { Ok(Zeroizing::new(prepared.into_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(password: &str) -> Credentials {
        let fewest = Iterations::try_from(4096).expect("allowed");
        Credentials::from_password(password, [7; 16], fewest).expect("a password")
    }

    #[test]
    fn only_the_password_matches() {
        let kept = kept("r0m30 ünd");
        assert!(kept.matches("r0m30 ünd"));
        for wrong in ["", "r0m30", "r0m30 ünd ", "\u{7}", &"x".repeat(1025)] {
            assert!(!kept.matches(wrong), "{wrong}");
        }
        assert!(!format!("{kept:?}").contains('['), "keys stay out of logs");
    }

    #[test]
    fn a_password_is_prepared_before_it_is_hashed() {
        // RFC 4013 §3 and its §2.1: two spellings of one password.
        for (one, other) in [
            ("I\u{ad}X", "IX"),
            ("\u{2168}", "IX"),
            ("\u{aa}", "a"),
            ("a\u{a0}b", "a b"),
            ("u\u{308}", "ü"),
        ] {
            assert!(kept(one).matches(other), "{one}");
            assert!(kept(other).matches(one), "{other}");
        }
        assert!(!kept("IX").matches("ix"), "case matters");
    }

    #[test]
    fn what_cannot_be_a_password_is_refused() {
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        assert!(Credentials::from_password(&longest, [7; 16], Iterations::default()).is_ok());
        let too_long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        for unfit in ["", "\u{ad}", "\u{7}", "\u{627}1", too_long.as_str()] {
            let refused = Credentials::from_password(unfit, [7; 16], Iterations::default());
            assert_eq!(refused.err(), Some(NoPassword), "{unfit:?}");
        }
    }

    #[test]
    fn a_made_up_account_is_always_the_same_and_nobodys() {
        let made_up = |name, secret| Credentials::made_up(name, secret, Iterations::default());
        let once = made_up("juliet", b"secret");
        assert_eq!(once, made_up("juliet", b"secret"));
        assert_ne!(once, made_up("romeo", b"secret"));
        assert_ne!(once, made_up("juliet", b"other"));
        assert!(!once.matches("") && !once.matches("secret"));
    }

    #[test]
    fn a_made_up_account_looks_like_a_real_one() {
        let iterations = Iterations::try_from(4096).expect("allowed");
        let (real, made_up) = (kept("x"), Credentials::made_up("juliet", b"secret", iterations));
        for hash in [Hash::Sha1, Hash::Sha256] {
            let real = real.keys(hash).expect("whole");
            let made_up = made_up.keys(hash).expect("whole");
            assert_eq!(real.salt.len(), made_up.salt.len());
            assert_eq!(real.iterations, made_up.iterations);
        }
    }

    #[test]
    fn absurd_iterations_are_not_read() {
        let stored = serde_json::to_string(&kept("x")).expect("text");
        assert_eq!(serde_json::from_str::<Credentials>(&stored).ok(), Some(kept("x")));
        for absurd in ["0", "4095", "1000001", "2147483648"] {
            let stored = stored.replace("4096", absurd);
            assert!(serde_json::from_str::<Credentials>(&stored).is_err(), "{absurd}");
        }
    }

    #[test]
    fn keys_that_were_cut_are_none() {
        let cuts: [fn(&mut Keys); 3] = [
            |keys| keys.stored_key.truncate(20),
            |keys| keys.server_key.clear(),
            |keys| keys.salt.clear(),
        ];
        for cut in cuts {
            let mut kept = kept("x");
            cut(&mut kept.sha256);
            assert!(kept.keys(Hash::Sha256).is_none() && kept.keys(Hash::Sha1).is_some());
            assert!(!kept.matches("x"));
        }
    }
}
