//! Who a node is: its name stays, its id is drawn at every start. How to reach
//! it is here too; whether it lives is not, that is `membership`'s to say.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest node name, in bytes: a DNS label (RFC 1035, 2.3.4).
pub const NAME_BYTES_MAX: usize = 63;

/// A node's name: 1 to 63 of `[a-z0-9._-]`. It stays over restarts, and no two
/// nodes of a cluster share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// Why a text is no node name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No text at all.
    #[error("a node name cannot be empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a node name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A character that is not in `[a-z0-9._-]`.
    #[error("a node name has only a-z, 0-9, '.', '_' and '-', not {0:?}")]
    Character(char),
}

impl NodeName {
    /// Checks and takes a name.
    pub fn new(text: &str) -> Result<NodeName, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        match text.chars().find(|c| !allowed(*c)) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(NodeName(text.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<NodeName, NameError> {
        NodeName::new(text)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(text: String) -> Result<NodeName, NameError> {
        NodeName::new(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// One life of a node: drawn at every start. Of two ids of one name the
/// greater is the node, and the lesser is dead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NodeId {
    /// Grows with every start of this name; milliseconds since 1970 will do.
    pub generation: u64,
    /// Drawn by chance, so that two starts in one millisecond differ.
    pub random: u64,
}

impl NodeId {
    /// The id of one life.
    pub fn new(generation: u64, random: u64) -> NodeId {
        NodeId { generation, random }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:08x}", self.generation, self.random >> 32)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// This life.
    pub id: NodeId,
    /// The name over all its lives.
    pub name: NodeName,
}

/// What a node is up to, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// Started, and not yet ready for clients.
    #[default]
    Joining,
    /// Takes clients.
    Serving,
    /// Keeps its clients and takes no new ones.
    Draining,
    /// Hands its work over and will be gone.
    Leaving,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        })
    }
}

/// A node as gossip tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub node: Node,
    /// Where its mesh listens.
    pub address: SocketAddr,
    /// What it says it is up to.
    pub state: NodeState,
    /// How often gossip has heard of it: a count that grows while it lives.
    /// Only its growth means something.
    pub heartbeat: u64,
}

/// One connection of the mesh; the driver numbers them and never uses a number
/// twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), NameError>) {
        assert_eq!(NodeName::new(text).map(|_| ()), expected, "{text:?}");
    }

    #[test]
    fn a_name_is_a_short_lower_case_word() {
        check("balcony", Ok(()));
        check("n1.verona_east-2", Ok(()));
        check("", Err(NameError::Empty));
        check("Balcony", Err(NameError::Character('B')));
        check("a b", Err(NameError::Character(' ')));
        check("ä", Err(NameError::Character('ä')));
        check(&"a".repeat(63), Ok(()));
        check(&"a".repeat(64), Err(NameError::TooLong));
    }

    #[test]
    fn a_later_start_is_the_greater_id() {
        assert!(NodeId::new(2, 0) > NodeId::new(1, u64::MAX));
        assert!(NodeId::new(2, 8) > NodeId::new(2, 7));
        assert_eq!(NodeId::new(0xab, 0x0102_0304_0506_0708).to_string(), "ab-01020304");
    }

    #[test]
    fn a_name_from_the_wire_is_checked() {
        let bytes = postcard::to_stdvec("Not A Name").unwrap();
        assert!(postcard::from_bytes::<NodeName>(&bytes).is_err());
    }
}
