//! Requests to the server or to accounts that a component answers instead
//! (XEP-0355): wrapped up for it, and its answers unwrapped.
//!
//! Nothing is kept meanwhile. Who has asked is in the id of the wrapped
//! request, which the answer repeats, with a proof that we have written it: so
//! any node can pass the answer on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use subtle::ConstantTimeEq;
use tracing::debug;

use crate::router::Router;
use crate::router::act::Way;
use crate::stream::sasl::hash::Hash;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::forwarded::{forwarded, inside};
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::DELEGATION;
use crate::xmpp::stanza::Stanza;

/// What the id of a wrapped request begins with.
const MARK: &str = "jd.";

/// Characters of the proof in an id: 128 bits.
const PROOF_LENGTH: usize = 32;

/// Who has asked whom, by which id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    by: Jid,
    whom: Jid,
    id: Box<str>,
}

impl Router {
    /// Has the component that answers in the server's place answer a request;
    /// gives it back where there is none.
    pub(super) fn delegate(&self, request: Stanza) -> Option<Stanza> {
        let ns = request.child.as_ref().map(|child| &*child.ns)?;
        let Some(domain) = self.components.delegate(ns) else { return Some(request) };
        let (Some(by), Some(whom), Some(id)) =
            (request.from.clone(), request.to.clone(), request.id.clone())
        else {
            return Some(request);
        };
        let Ok(host) = Domain::parse(whom.domain()) else { return Some(request) };
        let asked = Asked { by, whom, id };
        let id = asked.written(domain.as_str(), &self.components.secret());
        let payload = forwarded(&request, "delegation", DELEGATION);
        let (from, to) = (Some(host.into()), Some(domain.clone().into()));
        let wrapped = Stanza::new(Kind::Iq(IqType::Set), from, to, payload);
        self.carry(Stanza { id: Some(id.into()), ..wrapped }, Way::default());
        None
    }

    /// An answer to one of our domains: if it is that of a component to a
    /// wrapped request, whoever has asked gets what is in it.
    pub(super) fn answered_for_us(&self, answer: &Stanza) {
        let Some(by) = answer.from.as_ref().map(Jid::domain) else { return };
        let id = answer.id.as_deref().unwrap_or_default();
        let Some(asked) = Asked::read(id, by, &self.components.secret()) else { return };
        let Asked { by, whom, id } = asked;
        let inner = match answer.kind {
            Kind::Iq(IqType::Result) => inside(answer, "delegation", DELEGATION).flatten(),
            _ => None,
        };
        let is_answer = |one: &Stanza| matches!(one.kind, Kind::Iq(_)) && one.kind.is_answer();
        let told = match inner.filter(is_answer) {
            Some(inner) => Stanza { from: Some(whom), to: Some(by), id: Some(id), ..inner },
            None => {
                debug!(%whom, "a component did not answer in our place");
                let mut payload = Vec::new();
                StanzaError::from(StanzaCondition::ServiceUnavailable).write(&mut payload);
                let kind = Kind::Iq(IqType::Error);
                let error = Stanza::new(kind, Some(whom), Some(by), Bytes::from(payload));
                Stanza { id: Some(id), ..error }
            }
        };
        self.carry(told, Way::default());
    }
}

impl Asked {
    fn written(&self, component: &str, secret: &[u8; 32]) -> String {
        let text = format!("{}\0{}\0{}", self.by, self.whom, self.id);
        let proof = proof(&text, component, secret);
        format!("{MARK}{proof}{}", URL_SAFE_NO_PAD.encode(text))
    }

    fn read(id: &str, component: &str, secret: &[u8; 32]) -> Option<Self> {
        let (said, text) = id.strip_prefix(MARK)?.split_at_checked(PROOF_LENGTH)?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let expected = proof(&text, component, secret);
        if !bool::from(expected.as_bytes().ct_eq(said.as_bytes())) {
            return None;
        }
        let mut fields = text.splitn(3, '\0');
        let (by, whom, id) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { by: Jid::parse(by).ok()?, whom: Jid::parse(whom).ok()?, id: id.into() })
    }
}

/// That we have written this for that component.
fn proof(text: &str, component: &str, secret: &[u8; 32]) -> String {
    let signed = format!("jabiru delegation\0{component}\0{text}");
    let proof = Hash::Sha256.hmac(secret, signed.as_bytes());
    proof.iter().take(PROOF_LENGTH / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_who_has_asked_to_us_alone() {
        let jid = |text| Jid::parse(text).expect("an address");
        let asked = Asked { by: jid("a@im/r"), whom: jid("im"), id: "1'\"ü".into() };
        let id = asked.written("gw", &[7; 32]);
        assert_eq!(Asked::read(&id, "gw", &[7; 32]), Some(asked));
        assert_eq!(Asked::read(&id, "other", &[7; 32]), None);
        assert_eq!(Asked::read(&id, "gw", &[8; 32]), None);
        let last = if id.ends_with('A') { 'B' } else { 'A' };
        let changed = format!("{}{last}", &id[..id.len() - 1]);
        assert_eq!(Asked::read(&changed, "gw", &[7; 32]), None);
        for other in ["", "jd.", "jd.0", "1"] {
            assert_eq!(Asked::read(other, "gw", &[7; 32]), None);
        }
    }
}
