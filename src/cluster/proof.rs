//! The words by which two nodes show each other that they have the cookie:
//! who speaks, what he wants or answers, and an HMAC over all of it and the
//! TLS exporter (RFC 5705), so that nobody can stand between.
//!
//! Magic and protocol, word (since protocol 2), normaliser, id, length of the
//! name, name, HMAC-SHA-256.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::cluster::handshake::Stranger;
use crate::cluster::keyring::Keys;
use crate::cluster::node::{NAME_BYTES_MAX, Node, NodeId, NodeName};
use crate::cluster::protocol::Protocol;

/// What every proof begins with, before the number of its protocol.
const MAGIC: [u8; 3] = *b"Jbm";

/// Who proves: the same bytes never prove the other side.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Dialer = 1,
    Listener = 2,
}

/// What a node wants that dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A link.
    Link,
    /// To hear whether it may come; nothing else.
    Inquire,
    /// The same, and its removal is to be taken back if it was removed.
    Return,
}

/// What it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// Come.
    #[error("it may come")]
    Welcome,
    /// Another node has its name, and lives.
    #[error("another node of the cluster has this name, and runs")]
    NameTaken,
    /// It was removed.
    #[error("this node was removed from the cluster")]
    Removed,
    /// It would look for one user in another home than we.
    #[error(
        "its version normalises addresses in another way: two such nodes cannot serve together"
    )]
    Normaliser,
    /// It has dialed itself.
    #[error("it is this node itself")]
    Yourself,
    /// It was removed, and its return could not be written down.
    #[error("its return could not be stored; try again")]
    Failed,
}

/// One side's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) protocol: Protocol,
    /// A [`Wish`] of the dialer, a [`Verdict`] of the listener.
    pub(super) word: u8,
    pub(super) normaliser: u16,
    pub(super) node: Node,
}

impl Wish {
    pub(super) fn word(self) -> u8 {
        self as u8
    }

    pub(super) fn of(word: u8) -> Option<Self> {
        [Self::Link, Self::Inquire, Self::Return].into_iter().find(|wish| wish.word() == word)
    }
}

impl Verdict {
    pub(super) fn word(self) -> u8 {
        self as u8
    }

    pub(super) fn of(word: u8) -> Option<Self> {
        let all = [
            Self::Welcome,
            Self::NameTaken,
            Self::Removed,
            Self::Normaliser,
            Self::Yourself,
            Self::Failed,
        ];
        all.into_iter().find(|verdict| verdict.word() == word)
    }
}

impl Proof {
    /// As it is sent, proved by the cookie in use.
    pub(super) fn written(&self, keys: &Keys, role: Role, exporter: &[u8; 32]) -> Vec<u8> {
        let name = self.node.name.as_str();
        let mut proof = MAGIC.to_vec();
        proof.push(self.protocol.number());
        if self.protocol > Protocol::OLDEST {
            proof.push(self.word);
        }
        proof.extend_from_slice(&self.normaliser.to_be_bytes());
        proof.extend_from_slice(&self.node.id.generation.to_be_bytes());
        proof.extend_from_slice(&self.node.id.random.to_be_bytes());
        proof.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        proof.extend_from_slice(name.as_bytes());
        let used = keys.mesh.first().expect("a keyring has at least one cookie");
        let mac = mac(used, role, exporter, &proof).finalize().into_bytes();
        proof.extend_from_slice(&mac);
        proof
    }

    /// Reads what the other side says, in the protocol that was agreed on.
    pub(super) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        protocol: Protocol,
        keys: &Keys,
        role: Role,
        exporter: &[u8; 32],
    ) -> Result<Self, Stranger> {
        let mut said = vec![0; MAGIC.len() + 1];
        stream.read_exact(&mut said).await?;
        if said != [&MAGIC[..], &[protocol.number()]].concat() {
            return Err(Stranger::Foreign);
        }
        let word = match protocol > Protocol::OLDEST {
            true => stream.read_u8().await?,
            false => 0,
        };
        said.extend((protocol > Protocol::OLDEST).then_some(word));
        let normaliser = stream.read_u16().await?;
        let id = NodeId::new(stream.read_u64().await?, stream.read_u64().await?);
        let length = stream.read_u8().await?;
        if usize::from(length) > NAME_BYTES_MAX {
            return Err(Stranger::Foreign);
        }
        let mut name = vec![0; usize::from(length)];
        stream.read_exact(&mut name).await?;
        let mut proved = [0; 32];
        stream.read_exact(&mut proved).await?;
        said.extend_from_slice(&normaliser.to_be_bytes());
        said.extend_from_slice(&id.generation.to_be_bytes());
        said.extend_from_slice(&id.random.to_be_bytes());
        said.push(length);
        said.extend_from_slice(&name);
        let is_right = |key: &zeroize::Zeroizing<[u8; 32]>| {
            mac(key, role, exporter, &said).verify_slice(&proved).is_ok()
        };
        if !keys.mesh.iter().any(is_right) {
            return Err(Stranger::Cookie);
        }
        let name = std::str::from_utf8(&name).ok().and_then(|name| NodeName::new(name).ok());
        let node = Node { id, name: name.ok_or(Stranger::Foreign)? };
        Ok(Self { protocol, word, normaliser, node })
    }
}

fn mac(key: &[u8; 32], role: Role, exporter: &[u8; 32], said: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&[role as u8]);
    mac.update(exporter);
    mac.update(said);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::keyring::Keyring;
    use proptest::prelude::{any, prop, proptest};

    const EXPORTER: [u8; 32] = [7; 32];

    fn keys(text: &str) -> std::sync::Arc<Keys> {
        Keyring::new(text).expect("cookies").keys()
    }

    fn proof(protocol: Protocol) -> Proof {
        let node = Node { id: NodeId::new(7, 8), name: "balcony".parse().expect("a name") };
        let word = if protocol > Protocol::OLDEST { Wish::Return.word() } else { 0 };
        Proof { protocol, word, normaliser: 3, node }
    }

    fn read(bytes: &[u8], protocol: Protocol, keys: &Keys) -> Result<Proof, Stranger> {
        let mut bytes = bytes;
        let reading = Proof::read(&mut bytes, protocol, keys, Role::Dialer, &EXPORTER);
        futures::executor::block_on(reading)
    }

    #[test]
    fn a_proof_is_read_as_it_was_written_in_each_protocol() {
        let keys = keys("0123456789abcdef");
        for protocol in [Protocol::OLDEST, Protocol::NEWEST] {
            let written = proof(protocol).written(&keys, Role::Dialer, &EXPORTER);
            assert_eq!(read(&written, protocol, &keys).expect("a proof"), proof(protocol));
            let other = proof(protocol).written(&keys, Role::Listener, &EXPORTER);
            assert!(matches!(read(&other, protocol, &keys), Err(Stranger::Cookie)));
        }
        let old = proof(Protocol::OLDEST).written(&keys, Role::Dialer, &EXPORTER);
        assert!(matches!(read(&old, Protocol::NEWEST, &keys), Err(Stranger::Foreign)));
    }

    #[test]
    fn while_the_cookie_changes_both_prove() {
        let (old, new) = (keys("0123456789abcdef"), keys("fedcba9876543210"));
        let both = keys("fedcba9876543210\n0123456789abcdef");
        let written = |keys| proof(Protocol::NEWEST).written(keys, Role::Dialer, &EXPORTER);
        assert!(read(&written(&old), Protocol::NEWEST, &both).is_ok());
        assert!(read(&written(&both), Protocol::NEWEST, &new).is_ok(), "the first is used");
        let refused = read(&written(&both), Protocol::NEWEST, &old);
        assert!(matches!(refused, Err(Stranger::Cookie)), "{refused:?}");
    }

    proptest! {
        #[test]
        fn a_changed_proof_proves_nothing(place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let keys = keys("0123456789abcdef");
            let mut written = proof(Protocol::NEWEST).written(&keys, Role::Dialer, &EXPORTER);
            let place = place.index(written.len());
            written[place] ^= 1 << bit;
            assert!(read(&written, Protocol::NEWEST, &keys).is_err());
        }
    }
}
