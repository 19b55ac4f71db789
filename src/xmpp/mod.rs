//! Addresses, stanzas, errors: the words of RFC 6120 and RFC 7622 as types. Pure.

pub mod content;
pub mod error;
pub mod forwarded;
pub mod jid;
pub mod kind;
pub mod namespaces;
mod plain;
pub mod prep;
pub mod stanza;
