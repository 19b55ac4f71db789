//! Dialback keys (XEP-0185): made of a secret of the whole cluster, so that any
//! node can say of a key whether another has made it, and nobody remembers any.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::xmpp::jid::Domain;

/// What keys are made of: the first makes them, all are accepted.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Zeroizing<[u8; 32]>>);

impl Secrets {
    /// The secret in use, and those that were or will be.
    pub fn new(secrets: Vec<Zeroizing<[u8; 32]>>) -> Self {
        Self(secrets)
    }

    /// The key by which `originating` proves itself to `receiving` on the
    /// stream that `receiving` has named `id`.
    pub fn key(&self, receiving: &Domain, originating: &Domain, id: &str) -> String {
        self.0.first().map(|secret| key(secret, receiving, originating, id)).unwrap_or_default()
    }

    /// Whether a key was made by us. Neither domain can have a space in it, so
    /// no other fields make the same text.
    pub fn made(&self, said: &str, receiving: &Domain, originating: &Domain, id: &str) -> bool {
        self.0.iter().any(|secret| {
            let key = key(secret, receiving, originating, id);
            bool::from(key.as_bytes().ct_eq(said.as_bytes()))
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.len()).finish()
    }
}

/// XEP-0185 §3.
fn key(secret: &[u8; 32], receiving: &Domain, originating: &Domain, id: &str) -> String {
    keyed(secret, &format!("{receiving} {originating} {id}"))
}

fn keyed(secret: &[u8], text: &str) -> String {
    let hashed = hex(&Sha256::digest(secret));
    let mac = Hmac::<Sha256>::new_from_slice(hashed.as_bytes());
    let mut mac = mac.expect("a key of HMAC has any length");
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect("a domain")
    }

    #[test]
    fn the_example_of_the_specification_is_met() {
        let text = "xmpp.example.com example.org D60000229F";
        let key = keyed(b"s3cr3tf0rd14lb4ck", text);
        assert_eq!(key, "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643");
    }

    #[test]
    fn a_key_is_good_for_one_pair_on_one_stream_and_under_both_cookies() {
        let secrets = |bytes: &[u8]| {
            Secrets::new(bytes.iter().map(|byte| Zeroizing::new([*byte; 32])).collect())
        };
        let (a, b) = (domain("a.example"), domain("b.example"));
        let key = secrets(&[1]).key(&a, &b, "7");
        assert!(secrets(&[1]).made(&key, &a, &b, "7"));
        assert!(secrets(&[2, 1]).made(&key, &a, &b, "7"), "the cookie before");
        assert!(!secrets(&[2]).made(&key, &a, &b, "7"));
        assert!(!secrets(&[1]).made(&key, &b, &a, "7"));
        assert!(!secrets(&[1]).made(&key, &a, &b, "8"));
        assert!(!secrets(&[]).made("", &a, &b, "7"));
        // no field goes on in the next (CVE-2016-0756)
        let key = |ours: &str, theirs: &str, id: &str| {
            secrets(&[1]).key(&domain(ours), &domain(theirs), id)
        };
        let same = [
            key("a.example", "b.example", "7"),
            key("a.exampleb.e", "xample", "7"),
            key("a.example", "b.example7", ""),
            key("a.example", "b.exampl", "e7"),
        ];
        for (at, one) in same.iter().enumerate() {
            assert!(!same[at + 1..].contains(one), "{at}");
        }
        assert!(Domain::parse("a.example b").is_err());
    }
}
