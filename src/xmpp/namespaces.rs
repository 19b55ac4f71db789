//! The names of the namespaces, each once.

/// Stanzas between client and server (RFC 6120 §4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Stanzas between servers.
pub const SERVER: &str = "jabber:server";
/// Stanzas of an external component (XEP-0114).
pub const COMPONENT: &str = "jabber:component:accept";
/// What a component may do in others' names (XEP-0356).
pub const PRIVILEGE: &str = "urn:xmpp:privilege:2";
/// What a component answers in the server's place (XEP-0355).
pub const DELEGATION: &str = "urn:xmpp:delegation:2";
/// What a stream takes at most (XEP-0478).
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// The stream element itself.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stream errors (RFC 6120 §4.9).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors (RFC 6120 §8.3).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS (RFC 6120 §5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Channel-binding types on offer (XEP-0440).
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Resource binding (RFC 6120 §7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Session establishment of RFC 3921, a formality for old clients.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Stream compression (XEP-0138, obsolete), which is never offered.
pub const COMPRESS: &str = "http://jabber.org/protocol/compress";
/// Dialback (XEP-0220).
pub const DIALBACK: &str = "jabber:server:dialback";
/// Its stream feature (XEP-0220 §2.5).
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// Both directions on one stream between servers (XEP-0288).
pub const BIDI: &str = "urn:xmpp:bidi";
/// Its stream feature (XEP-0288 §2.1).
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
/// Stream management (XEP-0198).
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// Service discovery (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Entity time (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// Last activity (XEP-0012).
pub const LAST: &str = "jabber:iq:last";
/// The roster (RFC 6121 §2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Message processing hints (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Chat states (XEP-0085).
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// Client state (XEP-0352).
pub const CLIENT_STATE: &str = "urn:xmpp:csi:0";
/// Message carbons (XEP-0280).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Which messages are copied by the rules of XEP-0280 §6.1.
pub const CARBONS_RULES: &str = "urn:xmpp:carbons:rules:0";
/// Forwarded stanzas (XEP-0297).
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// Receipts of messages (XEP-0184).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// What was read up to where (XEP-0333).
pub const CHAT_MARKERS: &str = "urn:xmpp:chat-markers:0";
/// Invitations into rooms, directly (XEP-0249).
pub const CONFERENCE: &str = "jabber:x:conference";
/// What rooms say to people (XEP-0045).
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// What people say of themselves (XEP-0054).
pub const VCARD: &str = "vcard-temp";
/// Private XML (XEP-0049).
pub const PRIVATE: &str = "jabber:iq:private";
/// Blocking (XEP-0191).
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// Why something is not sent to who is blocked (XEP-0191 §3.4).
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
/// Entity capabilities (XEP-0115).
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// Data forms (XEP-0004).
pub const DATA: &str = "jabber:x:data";
/// Whom to write to about a server (XEP-0157).
pub const SERVER_INFO: &str = "http://jabber.org/network/serverinfo";
/// In-band registration (XEP-0077).
pub const REGISTER: &str = "jabber:iq:register";
/// Its stream feature (XEP-0077 §8).
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// Ad-hoc commands (XEP-0050).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// `xml:lang` and its kin.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
