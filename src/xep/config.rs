//! `[xep]`: how much the extensions keep, and whom to write to.

use serde::{Deserialize, Serialize};

use crate::units::Size;

/// The section `[xep]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of one vCard, its photo included.
    pub vcard_bytes_max: Size,
    /// Bytes of all private XML of one account.
    pub private_bytes_max: Size,
    /// Elements of private XML of one account.
    pub private_elements_max: usize,
    /// Addresses that one account may block.
    pub blocked_max: usize,
    /// Whom to write to about this server.
    pub contacts: Contacts,
}

/// The section `[xep.contacts]`: URIs for each reason to write (XEP-0157).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contacts {
    /// Abuse by users of this server.
    pub abuse: Vec<String>,
    /// Those who run it.
    pub admin: Vec<String>,
    /// Praise and blame.
    pub feedback: Vec<String>,
    /// Those who sell it.
    pub sales: Vec<String>,
    /// Faults that endanger its users.
    pub security: Vec<String>,
    /// Where it says how it is.
    pub status: Vec<String>,
    /// Help for its users.
    pub support: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        // guesses: a photo as clients make it; bookmarks and settings of
        // several clients; more people than anybody is annoyed by
        Self {
            vcard_bytes_max: Size::kibibytes(128),
            private_bytes_max: Size::kibibytes(256),
            private_elements_max: 100,
            blocked_max: 1_000,
            contacts: Contacts::default(),
        }
    }
}
