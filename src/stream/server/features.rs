//! What a server offers on its stream (RFC 6120 §4.3.2), said and read.

use bytes::Bytes;

use crate::xml::element::Element;
use crate::xml::head::Raw;
use crate::xmpp::namespaces::{
    BIDI_FEATURE, DIALBACK_FEATURE, SASL, SERVER, STREAM, STREAM_MANAGEMENT, TLS,
};

/// What is offered between servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// TLS.
    pub tls: bool,
    /// And nothing before it.
    pub is_tls_required: bool,
    /// Proof by certificate.
    pub external: bool,
    /// Dialback, with errors that do not end the stream.
    pub dialback: bool,
    /// Both directions on this stream.
    pub bidi: bool,
    /// Stanzas are acknowledged.
    pub acks: bool,
}

impl Features {
    /// As they are written.
    pub fn write(self) -> Bytes {
        let mut out = String::from("<stream:features>");
        match (self.tls, self.is_tls_required) {
            (true, true) => out += &format!("<starttls xmlns='{TLS}'><required/></starttls>"),
            (true, false) => out += &format!("<starttls xmlns='{TLS}'/>"),
            (false, _) => {}
        }
        if self.external {
            out +=
                &format!("<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>");
        }
        if self.dialback {
            out += &format!("<dialback xmlns='{DIALBACK_FEATURE}'><errors/></dialback>");
        }
        if self.bidi {
            out += &format!("<bidi xmlns='{BIDI_FEATURE}'/>");
        }
        if self.acks {
            out += &format!("<sm xmlns='{STREAM_MANAGEMENT}'><optional/></sm>");
        }
        out += "</stream:features>";
        out.into()
    }

    /// What a first-level element offers, if it is one that offers.
    pub fn read(raw: &Raw) -> Option<Self> {
        if !raw.is("features", STREAM, SERVER) {
            return None;
        }
        let offered = Element::parse_all(&raw.content(), SERVER).ok()?;
        let find = |name, ns| offered.iter().find(|one| one.is(name, ns));
        let tls = find("starttls", TLS);
        let is_external = |one: &Element| {
            one.is("mechanism", SASL) && one.own_text().trim().eq_ignore_ascii_case("EXTERNAL")
        };
        let mechanisms = find("mechanisms", SASL);
        Some(Self {
            tls: tls.is_some(),
            is_tls_required: tls.is_some_and(|tls| tls.find("required", TLS).is_some()),
            external: mechanisms.is_some_and(|all| all.elements().any(is_external)),
            dialback: find("dialback", DIALBACK_FEATURE).is_some(),
            bidi: find("bidi", BIDI_FEATURE).is_some(),
            acks: find("sm", STREAM_MANAGEMENT).is_some(),
        })
    }
}
