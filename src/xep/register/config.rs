//! `[register]`: what people may do with accounts by themselves.

use serde::{Deserialize, Serialize};

use crate::stream::negotiation::registration::Rules;
use crate::units::Span;

/// The section `[register]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether anybody may make an account.
    pub enabled: bool,
    /// Whether an account may change its password.
    pub password_change: bool,
    /// Whether an account may remove itself.
    pub removal: bool,
    /// Characters of a password that people choose here.
    pub password_characters_min: usize,
    /// Names that nobody may have.
    pub reserved: Vec<String>,
    /// Accounts that one address may make in an interval, on each node; of
    /// IPv6 one network of 64 bits.
    pub per_address_max: u32,
    /// The interval.
    pub per_address_interval: Span,
}

impl Default for Config {
    fn default() -> Self {
        // who writes from these names is believed to be somebody (RFC 2142)
        let reserved = [
            "abuse",
            "admin",
            "administrator",
            "hostmaster",
            "info",
            "noc",
            "postmaster",
            "root",
            "security",
            "support",
            "webmaster",
            "xmpp",
        ];
        Self {
            enabled: false,
            password_change: true,
            removal: true,
            // NIST SP 800-63B §5.1.1.1
            password_characters_min: 8,
            reserved: reserved.map(str::to_owned).to_vec(),
            per_address_max: 5,
            per_address_interval: Span::seconds(3_600),
        }
    }
}

impl Config {
    /// By which names and passwords are judged.
    pub fn rules(&self) -> Rules {
        Rules {
            reserved: self.reserved.iter().map(|name| name.to_lowercase()).collect(),
            password_characters_min: self.password_characters_min,
        }
    }
}
