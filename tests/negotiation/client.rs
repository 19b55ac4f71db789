//! The client's side of SASL, as the RFCs say it and apart from the server's
//! code, but for the hash functions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jabiru::stream::sasl::hash::Hash;

use crate::play::Play;

/// One exchange of SCRAM (RFC 5802 §3).
#[derive(Debug, Clone)]
pub(crate) struct Scram {
    pub(crate) hash: Hash,
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    /// `n`, `y`, or `p=` and a type of channel binding.
    pub(crate) flag: &'static str,
    /// Whom it wants to be: empty, or `a=` and an address.
    pub(crate) authorization: &'static str,
    /// What the client's end of TLS says.
    pub(crate) bound: Vec<u8>,
}

impl Scram {
    pub(crate) fn new(hash: Hash, name: &'static str, password: &'static str) -> Self {
        Self { hash, name, password, flag: "n", authorization: "", bound: Vec::new() }
    }

    /// The exchange bound to the channel.
    pub(crate) fn bound(self, flag: &'static str, data: Option<Vec<u8>>) -> Self {
        Self { flag, bound: data.unwrap_or_default(), ..self }
    }

    pub(crate) fn mechanism(&self) -> String {
        let number = if self.hash == Hash::Sha1 { "1" } else { "256" };
        let plus = if self.flag.starts_with("p=") { "-PLUS" } else { "" };
        format!("SCRAM-SHA-{number}{plus}")
    }

    pub(crate) fn first(&self) -> String {
        auth(&self.mechanism(), format!("{}{}", self.header(), self.bare()))
    }

    fn header(&self) -> String {
        format!("{},{},", self.flag, self.authorization)
    }

    fn bare(&self) -> String {
        format!("n={},r=fyko", self.name)
    }

    /// The client's proof upon the server's challenge, and what the server
    /// must say to prove itself.
    pub(crate) fn last(&self, challenge: &str) -> (String, String) {
        let field = |name| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let nonce = field("r=").unwrap_or_default();
        let salt = STANDARD.decode(field("s=").unwrap_or_default()).unwrap_or_default();
        let iterations = field("i=").and_then(|number| number.parse().ok()).unwrap_or(1);
        let bound = STANDARD.encode([self.header().as_bytes(), &self.bound].concat());
        let without_proof = format!("c={bound},r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.bare());
        let salted = self.hash.salted(self.password.as_bytes(), &salt, iterations);
        let key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(&self.hash.of(&key), signed.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        let theirs = STANDARD.encode(self.hash.hmac(&server_key, signed.as_bytes()));
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        (response(last), format!("v={theirs}"))
    }

    /// Plays it to its end. The server's last words, if it did not prove
    /// itself, are a failure of the test.
    #[track_caller]
    pub(crate) fn play(&self, play: &mut Play) -> String {
        let said = play.say(self.first());
        if said != "challenge" {
            return said;
        }
        let (last, theirs) = self.last(&play.message());
        let said = play.say(last);
        if said == "success" {
            assert_eq!(play.message(), theirs, "the server proves itself");
        }
        format!("challenge, {said}")
    }
}

pub(crate) fn auth(mechanism: &str, message: impl AsRef<[u8]>) -> String {
    raw_auth(mechanism, &STANDARD.encode(message))
}

/// `content` as it is.
pub(crate) fn raw_auth(mechanism: &str, content: &str) -> String {
    format!(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{content}</auth>"
    )
}

pub(crate) fn plain(authorization: &str, name: &str, password: &str) -> String {
    auth("PLAIN", format!("{authorization}\0{name}\0{password}"))
}

pub(crate) fn response(message: impl AsRef<[u8]>) -> String {
    raw_response(&STANDARD.encode(message))
}

pub(crate) fn raw_response(content: &str) -> String {
    format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{content}</response>")
}

pub(crate) const ABORT: &str = "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
