//! Which mechanisms there are, and which are offered when.

use crate::stream::sasl::hash::Hash;

/// A mechanism that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 5802, RFC 7677.
    Scram {
        /// With which hash function.
        hash: Hash,
        /// `-PLUS`: bound to the TLS channel.
        is_bound: bool,
    },
    /// RFC 4616; under TLS only.
    Plain,
}

/// What the channel under the stream gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Bytes that everybody on the way can read.
    Plain,
    /// TLS.
    Tls,
}

/// All of them, the best first.
const ALL: [(&str, Mechanism); 5] = [
    (
        "SCRAM-SHA-256-PLUS",
        Mechanism::Scram {
            hash: Hash::Sha256,
            is_bound: true,
        },
    ),
    (
        "SCRAM-SHA-1-PLUS",
        Mechanism::Scram {
            hash: Hash::Sha1,
            is_bound: true,
        },
    ),
    (
        "SCRAM-SHA-256",
        Mechanism::Scram {
            hash: Hash::Sha256,
            is_bound: false,
        },
    ),
    (
        "SCRAM-SHA-1",
        Mechanism::Scram {
            hash: Hash::Sha1,
            is_bound: false,
        },
    ),
    ("PLAIN", Mechanism::Plain),
];

impl Mechanism {
    /// The mechanism of this name; names are in capitals (RFC 4422 §3.1).
    pub fn find(name: &str) -> Option<Self> {
        ALL.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, mechanism)| *mechanism)
    }

    /// Whether it is safe on such a channel, and possible.
    pub fn fits(self, channel: Channel) -> bool {
        match (self, channel) {
            (_, Channel::Tls)
            | (
                Self::Scram {
                    is_bound: false, ..
                },
                _,
            ) => true,
            (Self::Scram { is_bound: true, .. } | Self::Plain, Channel::Plain) => false,
        }
    }

    /// The names to offer, the best first.
    pub fn offered(channel: Channel) -> impl Iterator<Item = &'static str> {
        ALL.iter()
            .filter(move |(_, mechanism)| mechanism.fits(channel))
            .map(|(name, _)| *name)
    }
}
