//! SCRAM, the server's side (RFC 5802, RFC 7677), one struct per state:
//! [`First`] was read, [`Challenged`] was answered.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::stream::sasl::credentials::{Credentials, Keys};
use crate::stream::sasl::failure::Failure;
use crate::stream::sasl::hash::Hash;

/// What TLS offers to bind to.
#[derive(Clone, Default)]
pub struct Bindings {
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` (RFC 5929).
    pub end_point: Option<Vec<u8>>,
}

/// The client's first message.
pub struct First {
    /// Its name, decoded.
    pub name: String,
    /// Whose session it wants; empty: its own.
    pub authorization: String,
    hash: Hash,
    /// The GS2 header and the channel's data: what `c=` must say.
    bound: Vec<u8>,
    bare: String,
    nonce: String,
}

/// After our challenge.
pub struct Challenged {
    hash: Hash,
    bound: Vec<u8>,
    /// `client-first-bare,server-first`: the first two thirds of what is
    /// signed.
    exchange: String,
    nonce: String,
    keys: Keys,
}

impl Bindings {
    /// The names of the types on offer (XEP-0440).
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let exporter = self.exporter.as_ref().map(|_| "tls-exporter");
        let end_point = self.end_point.as_ref().map(|_| "tls-server-end-point");
        exporter.into_iter().chain(end_point)
    }

    fn data(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }
}

impl First {
    /// Reads the client's first message. `is_bound`: the mechanism is a
    /// `-PLUS` one; `bindings`: what was offered.
    ///
    /// # Errors
    /// [`Failure::MalformedRequest`], and [`Failure::NotAuthorized`] for a
    /// client that was kept from seeing our `-PLUS` mechanisms.
    pub fn read(
        message: &[u8],
        hash: Hash,
        is_bound: bool,
        bindings: &Bindings,
    ) -> Result<Self, Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authorization), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::MalformedRequest);
        };
        let mut bound = format!("{flag},{authorization},").into_bytes();
        match (flag, flag.strip_prefix("p="), is_bound) {
            (_, Some(name), true) => {
                bound.extend_from_slice(bindings.data(name).ok_or(Failure::MalformedRequest)?);
            }
            ("n", _, false) => {}
            // It can bind and believes that we cannot, but we said we can.
            ("y", _, false) if bindings.names().next().is_some() => {
                return Err(Failure::NotAuthorized);
            }
            ("y", _, false) => {}
            _ => return Err(Failure::MalformedRequest),
        }
        let authorization = match authorization {
            "" => String::new(),
            other => decode_name(other.strip_prefix("a=").ok_or(Failure::MalformedRequest)?)?,
        };
        let mut fields = bare.split(',');
        let name = field(fields.next(), "n=").ok_or(Failure::MalformedRequest)?;
        let nonce = field(fields.next(), "r=").ok_or(Failure::MalformedRequest)?;
        let is_printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if nonce.is_empty() || !is_printable || fields.any(is_mandatory_extension) {
            return Err(Failure::MalformedRequest);
        }
        Ok(Self {
            name: decode_name(name)?,
            authorization,
            hash,
            bound,
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// Our challenge, with our part of the nonce, for the account's keys.
    ///
    /// # Errors
    /// [`Failure::TemporaryAuthFailure`] for keys that are not sound.
    pub fn challenge(
        self,
        credentials: &Credentials,
        our_nonce: &str,
    ) -> Result<(Challenged, String), Failure> {
        let keys = credentials.keys(self.hash).ok_or(Failure::TemporaryAuthFailure)?;
        let nonce = format!("{}{our_nonce}", self.nonce);
        let salt = STANDARD.encode(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}", keys.iterations.get());
        let challenged = Challenged {
            hash: self.hash,
            bound: self.bound,
            exchange: format!("{},{challenge}", self.bare),
            nonce,
            keys: keys.clone(),
        };
        Ok((challenged, challenge))
    }
}

impl Challenged {
    /// Checks the client's proof; the answer is ours.
    ///
    /// # Errors
    /// [`Failure::NotAuthorized`] for a proof that is none,
    /// [`Failure::MalformedRequest`] for no proof at all.
    pub fn finish(self, message: &[u8]) -> Result<String, Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::MalformedRequest)?;
        let mut fields = without_proof.split(',');
        let bound = field(fields.next(), "c=").ok_or(Failure::MalformedRequest)?;
        let nonce = field(fields.next(), "r=").ok_or(Failure::MalformedRequest)?;
        if fields.any(is_mandatory_extension) {
            return Err(Failure::MalformedRequest);
        }
        let bound = STANDARD.decode(bound).map_err(|_| Failure::MalformedRequest)?;
        let proof = STANDARD.decode(proof).map_err(|_| Failure::MalformedRequest)?;
        let signed = format!("{},{without_proof}", self.exchange);
        let signature = self.hash.hmac(&self.keys.stored_key, signed.as_bytes());
        let client_key: Vec<u8> = signature.iter().zip(&proof).map(|(a, b)| a ^ b).collect();
        let is_right = self.hash.of(&client_key).ct_eq(&self.keys.stored_key)
            & bound.ct_eq(&self.bound)
            & nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        if !bool::from(is_right) || proof.len() != self.hash.length() {
            return Err(Failure::NotAuthorized);
        }
        let ours = self.hash.hmac(&self.keys.server_key, signed.as_bytes());
        Ok(format!("v={}", STANDARD.encode(ours)))
    }
}

fn field<'a>(field: Option<&'a str>, name: &str) -> Option<&'a str> {
    field.and_then(|field| field.strip_prefix(name))
}

/// We know none, so any of them fails (RFC 5802 §5.1, `m`).
fn is_mandatory_extension(field: &str) -> bool {
    field.starts_with("m=")
}

/// `=2C` is a comma and `=3D` an equals sign; no other `=` may be there.
fn decode_name(text: &str) -> Result<String, Failure> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::MalformedRequest),
        };
        name.push(c);
        name.push_str(rest);
    }
    if name.contains('\0') { Err(Failure::MalformedRequest) } else { Ok(name) }
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("First").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl fmt::Debug for Challenged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenged").field("hash", &self.hash).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sasl::credentials::Iterations;

    /// The exchanges of RFC 5802 §5 and RFC 7677 §3.
    #[track_caller]
    fn check(
        hash: Hash,
        salt: &str,
        first: &str,
        ours: &str,
        challenge: &str,
        last: &str,
        end: &str,
    ) {
        let salt: [u8; 16] = {
            let decoded = STANDARD.decode(salt).expect("base64");
            let mut salt = [0; 16];
            salt[..decoded.len()].copy_from_slice(&decoded);
            salt
        };
        let length = if hash == Hash::Sha1 { 12 } else { 16 };
        let keys = {
            let salted = hash.salted(b"pencil", &salt[..length], 4096);
            Keys {
                salt: salt[..length].to_vec(),
                iterations: Iterations::try_from(4096).expect("allowed"),
                stored_key: hash.of(&hash.hmac(&salted, b"Client Key")),
                server_key: hash.hmac(&salted, b"Server Key"),
            }
        };
        let credentials = serde_json::json!({"sha1": keys, "sha256": keys, "is_disabled": false});
        let credentials: Credentials = serde_json::from_value(credentials).expect("keys");
        let first =
            First::read(first.as_bytes(), hash, false, &Bindings::default()).expect("first");
        assert_eq!(first.name, "user");
        let (challenged, said) = first.challenge(&credentials, ours).expect("sound keys");
        assert_eq!(said, challenge);
        assert_eq!(challenged.finish(last.as_bytes()), Ok(end.to_owned()));
    }

    #[test]
    fn the_exchanges_of_the_rfcs_succeed() {
        check(
            Hash::Sha1,
            "QSXCR+Q6sek8bf92",
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        check(
            Hash::Sha256,
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
    }

    fn bindings() -> Bindings {
        Bindings { exporter: Some(b"exported".to_vec()), end_point: None }
    }

    #[track_caller]
    fn first(text: &str, is_bound: bool) -> Result<String, Failure> {
        First::read(text.as_bytes(), Hash::Sha256, is_bound, &bindings()).map(|first| first.name)
    }

    #[test]
    fn a_first_message_is_taken_or_named_wrong() {
        use Failure::{MalformedRequest as Malformed, NotAuthorized};
        assert_eq!(first("n,,n=user,r=abc", false), Ok("user".into()));
        assert_eq!(first("n,a=u@x,n=a=2Cb=3D,r=abc", false), Ok("a,b=".into()));
        assert_eq!(first("p=tls-exporter,,n=user,r=abc", true), Ok("user".into()));
        assert_eq!(first("p=tls-unique,,n=user,r=abc", true), Err(Malformed));
        assert_eq!(first("p=tls-server-end-point,,n=user,r=abc", true), Err(Malformed));
        assert_eq!(first("p=tls-exporter,,n=user,r=abc", false), Err(Malformed));
        assert_eq!(first("n,,n=user,r=abc", true), Err(Malformed));
        assert_eq!(first("y,,n=user,r=abc", true), Err(Malformed));
        assert_eq!(first("y,,n=user,r=abc", false), Err(NotAuthorized));
        assert_eq!(first("n,,m=ext,n=user,r=abc", false), Err(Malformed));
        assert_eq!(first("n,,n=user,r=abc,m=ext", false), Err(Malformed));
        assert_eq!(first("n,,n=user,r=abc,x=ext", false), Ok("user".into()));
        assert_eq!(first("n,,n=us=er,r=abc", false), Err(Malformed));
        assert_eq!(first("n,,n=user,r=", false), Err(Malformed));
        assert_eq!(first("n,x,n=user,r=abc", false), Err(Malformed));
        assert_eq!(first("n,,r=abc", false), Err(Malformed));
        assert_eq!(first("", false), Err(Malformed));
        assert_eq!(first(",,,,", false), Err(Malformed));
    }

    /// Plays the client, with one thing wrong.
    fn play(change: impl Fn(&str) -> String) -> Result<String, Failure> {
        let hash = Hash::Sha256;
        let fewest = Iterations::try_from(4096).expect("allowed");
        let credentials =
            Credentials::from_password("pencil", [1; 16], fewest).expect("a password");
        let bare = "n=user,r=abc";
        let first = format!("p=tls-exporter,,{bare}");
        let first = First::read(first.as_bytes(), hash, true, &bindings()).expect("first");
        let (challenged, challenge) = first.challenge(&credentials, "def").expect("sound");
        let bound = STANDARD.encode(b"p=tls-exporter,,exported");
        let without_proof = change(&format!("c={bound},r=abcdef"));
        let salted = hash.salted(b"pencil", &[1; 16], 4096);
        let client_key = hash.hmac(&salted, b"Client Key");
        let signed = format!("{bare},{challenge},{without_proof}");
        let signature = hash.hmac(&hash.of(&client_key), signed.as_bytes());
        let proof: Vec<u8> = signature.iter().zip(&client_key).map(|(a, b)| a ^ b).collect();
        challenged.finish(format!("{without_proof},p={}", STANDARD.encode(proof)).as_bytes())
    }

    #[test]
    fn a_proof_counts_only_for_this_channel_and_this_exchange() {
        assert!(play(str::to_owned).is_ok());
        let other = STANDARD.encode(b"p=tls-exporter,,somewhere else");
        let wrong = Err(Failure::NotAuthorized);
        assert_eq!(play(|_| format!("c={other},r=abcdef")), wrong);
        assert_eq!(play(|text| text.replace("abcdef", "abc")), wrong);
        assert_eq!(play(|text| text.replace("abcdef", "abcdefg")), wrong);
        assert_eq!(play(|text| format!("{text},m=ext")), Err(Failure::MalformedRequest));
        assert!(play(|text| format!("{text},x=ignored")).is_ok());
    }

    #[test]
    fn a_proof_of_the_wrong_length_is_none() {
        for proof in ["", "AA==", &STANDARD.encode([0; 32]), &STANDARD.encode([0; 64])] {
            let credentials = Credentials::made_up("user", b"secret", Iterations::default());
            let first = First::read(b"n,,n=user,r=abc", Hash::Sha256, false, &Bindings::default());
            let (challenged, _) =
                first.expect("first").challenge(&credentials, "def").expect("sound");
            let last = format!("c=biws,r=abcdef,p={proof}");
            assert_eq!(challenged.finish(last.as_bytes()), Err(Failure::NotAuthorized));
        }
    }
}
