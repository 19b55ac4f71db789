//! Which mechanisms there are, and which are offered when.
//!
//! How they work is in `scram` and `plain`.

use serde::{Deserialize, Serialize};

use crate::stream::sasl::hash::Hash;

/// A mechanism that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
    /// TLS with nothing to bind to.
    Tls,
    /// TLS that an exchange can be bound to.
    Bindable,
}

/// No mechanism of ours has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such mechanism; there are SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS, SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN"
)]
pub struct NoMechanism;

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [
        Self::scram(Hash::Sha256, true),
        Self::scram(Hash::Sha1, true),
        Self::scram(Hash::Sha256, false),
        Self::scram(Hash::Sha1, false),
        Self::Plain,
    ];

    const fn scram(hash: Hash, is_bound: bool) -> Self {
        Self::Scram { hash, is_bound }
    }

    /// Its name (RFC 5802 §4, RFC 7677 §2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Scram { hash, is_bound } => match (hash, is_bound) {
                (Hash::Sha256, true) => "SCRAM-SHA-256-PLUS",
                (Hash::Sha1, true) => "SCRAM-SHA-1-PLUS",
                (Hash::Sha256, false) => "SCRAM-SHA-256",
                (Hash::Sha1, false) => "SCRAM-SHA-1",
            },
            Self::Plain => "PLAIN",
        }
    }

    /// The mechanism of this name; names are in capitals (RFC 4422 §3.1).
    pub fn find(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|mechanism| mechanism.name() == name)
    }

    /// Whether it is a `-PLUS` one.
    pub fn is_bound(self) -> bool {
        matches!(self, Self::Scram { is_bound: true, .. })
    }

    /// Whether it is safe on such a channel, and possible.
    pub fn fits(self, channel: Channel) -> bool {
        match channel {
            Channel::Plain => self != Self::Plain && !self.is_bound(),
            Channel::Tls => !self.is_bound(),
            Channel::Bindable => true,
        }
    }
}

impl TryFrom<String> for Mechanism {
    type Error = NoMechanism;

    fn try_from(name: String) -> Result<Self, NoMechanism> {
        Self::find(&name).ok_or(NoMechanism)
    }
}

impl From<Mechanism> for String {
    fn from(mechanism: Mechanism) -> Self {
        mechanism.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(channel: Channel, fitting: &str) {
        let fits = Mechanism::ALL.into_iter().filter(|one| one.fits(channel));
        let names: Vec<_> = fits.map(Mechanism::name).collect();
        assert_eq!(names.join(" "), fitting);
    }

    #[test]
    fn a_password_is_never_said_where_others_hear_it() {
        check(Channel::Plain, "SCRAM-SHA-256 SCRAM-SHA-1");
        check(Channel::Tls, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN");
        check(
            Channel::Bindable,
            "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN",
        );
    }

    #[test]
    fn a_name_is_written_as_it_is_registered() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::find(mechanism.name()), Some(mechanism));
        }
        for unknown in ["", "scram-sha-1", "SCRAM-SHA-1 ", "DIGEST-MD5", "ANONYMOUS"] {
            assert_eq!(Mechanism::find(unknown), None, "{unknown}");
            assert!(Mechanism::try_from(unknown.to_owned()).is_err());
        }
    }
}
