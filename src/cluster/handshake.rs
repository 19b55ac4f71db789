//! The first words on a mesh connection: TLS, then each side proves that it
//! has the cookie. Who dials proves first: a stranger who connects learns
//! nothing, not even our name. Who is not let in hears why.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::cluster::keyring::Keyring;
use crate::cluster::mesh_tls::{MeshTls, Secured};
use crate::cluster::node::Node;
use crate::cluster::proof::{Proof, Role, Verdict, Wish};
use crate::cluster::protocol::Protocol;
use crate::xmpp::jid::NORMALISER;

/// How long all of it may take. A guess; mostly it takes 2 ms.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What is needed to greet other nodes.
pub(super) struct Greeter {
    me: Node,
    normaliser: u16,
    ring: std::sync::Arc<Keyring>,
    tls: MeshTls,
}

/// Who was greeted.
pub(super) struct Greeted {
    /// Who it is.
    pub(super) node: Node,
    /// How to speak with it.
    pub(super) tls: TlsStream<TcpStream>,
    /// In which protocol.
    pub(super) protocol: Protocol,
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranger {
    /// The connection or TLS failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no proof came in time")]
    Late,
    /// Not our protocol, or a version of it that we do not speak.
    #[error("it speaks another protocol, or a version of ours that this one does not")]
    Foreign,
    /// Its proof is wrong.
    #[error("its cookie is another one")]
    Cookie,
    /// It closed when it had seen our proof.
    #[error("it did not accept our proof; most likely its cookie is another one")]
    Refused,
    /// It is one of us, and is not let in.
    #[error("{0}")]
    Turned(Verdict),
    /// It let us in, or we it, and that was all that was wanted.
    #[error("it only asked")]
    Inquired,
}

impl Greeter {
    /// Greets as `me`; speaks nothing newer than `newest`.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub(super) fn new(
        me: Node,
        ring: std::sync::Arc<Keyring>,
        newest: Protocol,
    ) -> Result<Self, anyhow::Error> {
        Ok(Self { me, normaliser: NORMALISER, ring, tls: MeshTls::new(newest)? })
    }

    /// Greets whom we dialed.
    pub(super) async fn dial(&self, tcp: TcpStream, wish: Wish) -> Result<Greeted, Stranger> {
        let greet = async {
            tcp.set_nodelay(true)?;
            let Secured { mut tls, exporter, protocol } = self.tls.connect(tcp).await?;
            let protocol = protocol.ok_or(Stranger::Foreign)?;
            if wish != Wish::Link && protocol == Protocol::OLDEST {
                // whoever speaks it makes a link of every greeting
                return Err(Stranger::Inquired);
            }
            let keys = self.ring.keys();
            let proof = self.proof(protocol, wish.word());
            tls.write_all(&proof.written(&keys, Role::Dialer, &exporter)).await?;
            tls.flush().await?;
            let heard = Proof::read(&mut tls, protocol, &keys, Role::Listener, &exporter).await;
            let heard = heard.map_err(|stranger| match stranger {
                Stranger::Io(_) => Stranger::Refused,
                stranger => stranger,
            })?;
            match Verdict::of(heard.word) {
                Some(Verdict::Welcome) if heard.normaliser != self.normaliser => {
                    Err(Stranger::Turned(Verdict::Normaliser))
                }
                Some(Verdict::Welcome) => Ok(Greeted { node: heard.node, tls, protocol }),
                Some(verdict) => Err(Stranger::Turned(verdict)),
                None => Err(Stranger::Foreign),
            }
        };
        timeout(TIME_MAX, greet).await.unwrap_or(Err(Stranger::Late))
    }

    /// Greets who dialed us. `judge` says whether it is let in.
    pub(super) async fn accept(
        &self,
        tcp: TcpStream,
        judge: impl AsyncFnOnce(&Node, Wish) -> Verdict,
    ) -> Result<Greeted, Stranger> {
        let greet = async {
            tcp.set_nodelay(true)?;
            let Secured { mut tls, exporter, protocol } = self.tls.accept(tcp).await?;
            let protocol = protocol.ok_or(Stranger::Foreign)?;
            let keys = self.ring.keys();
            let heard = Proof::read(&mut tls, protocol, &keys, Role::Dialer, &exporter).await?;
            let wish = Wish::of(heard.word).ok_or(Stranger::Foreign)?;
            let verdict = match heard.normaliser == self.normaliser {
                true => judge(&heard.node, wish).await,
                false => Verdict::Normaliser,
            };
            // protocol 1 has no word for it: closing says it
            if verdict == Verdict::Welcome || protocol > Protocol::OLDEST {
                let proof = self.proof(protocol, verdict.word());
                tls.write_all(&proof.written(&keys, Role::Listener, &exporter)).await?;
                tls.flush().await?;
            }
            match (verdict, wish) {
                (Verdict::Welcome, Wish::Link) => Ok(Greeted { node: heard.node, tls, protocol }),
                (Verdict::Welcome, Wish::Inquire | Wish::Return) => Err(Stranger::Inquired),
                (verdict, _) => Err(Stranger::Turned(verdict)),
            }
        };
        timeout(TIME_MAX, greet).await.unwrap_or(Err(Stranger::Late))
    }

    fn proof(&self, protocol: Protocol, word: u8) -> Proof {
        Proof { protocol, word, normaliser: self.normaliser, node: self.me.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::node::NodeId;
    use tokio::net::TcpListener;

    const COOKIE: &str = "0123456789abcdef";

    fn greeter(name: &str, cookie: &str, newest: Protocol) -> Greeter {
        let ring = Keyring::new(cookie).expect("long enough");
        let node = Node { id: NodeId::new(7, 8), name: name.parse().expect("a name") };
        Greeter::new(node, ring, newest).expect("a certificate")
    }

    fn newest(name: &str, cookie: &str) -> Greeter {
        greeter(name, cookie, Protocol::NEWEST)
    }

    type Met = Result<(String, u8), Stranger>;

    async fn meet(dialer: Greeter, listener: Greeter, wish: Wish, verdict: Verdict) -> [Met; 2] {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let told = |greeted: Greeted| (greeted.node.name.to_string(), greeted.protocol.number());
        let accepted = async {
            let (tcp, _) = socket.accept().await?;
            listener.accept(tcp, async |_, _| verdict).await.map(told)
        };
        let dialed = async {
            let tcp = TcpStream::connect(address).await?;
            dialer.dial(tcp, wish).await.map(told)
        };
        let (accepted, dialed) = tokio::join!(accepted, dialed);
        [dialed, accepted]
    }

    #[tokio::test]
    async fn who_has_the_cookie_is_greeted_in_the_newest_that_both_speak() {
        let protocols = [Protocol::OLDEST, Protocol::NEWEST];
        for (ours, theirs) in protocols.iter().flat_map(|a| protocols.map(|b| (*a, b))) {
            let (dialer, listener) = (greeter("a", COOKIE, ours), greeter("b", COOKIE, theirs));
            let both = meet(dialer, listener, Wish::Link, Verdict::Welcome).await;
            let [Ok(dialed), Ok(accepted)] = both else { panic!("{both:?}") };
            let spoken = ours.min(theirs).number();
            assert_eq!((dialed, accepted), (("b".into(), spoken), ("a".into(), spoken)));
        }
    }

    #[tokio::test]
    async fn who_normalises_otherwise_is_refused_and_told_why() {
        let mut newer = newest("a", COOKIE);
        newer.normaliser += 1;
        let both = meet(newer, newest("b", COOKIE), Wish::Link, Verdict::Welcome).await;
        let expected = Verdict::Normaliser;
        let [Err(Stranger::Turned(dialed)), Err(Stranger::Turned(accepted))] = both else {
            panic!("{both:?}")
        };
        assert_eq!((dialed, accepted), (expected, expected));
    }

    #[tokio::test]
    async fn who_has_another_cookie_is_told_nothing() {
        let (dialer, listener) = (newest("a", COOKIE), newest("b", "0123456789abcdeF"));
        let both = meet(dialer, listener, Wish::Link, Verdict::Welcome).await;
        let [Err(Stranger::Refused), Err(Stranger::Cookie)] = both else { panic!("{both:?}") };
    }

    #[tokio::test]
    async fn who_only_asks_gets_an_answer_and_no_link() {
        for (wish, verdict) in [
            (Wish::Inquire, Verdict::Welcome),
            (Wish::Inquire, Verdict::Removed),
            (Wish::Return, Verdict::NameTaken),
        ] {
            let both = meet(newest("a", COOKIE), newest("b", COOKIE), wish, verdict).await;
            match both {
                [Ok(_), Err(Stranger::Inquired)] => assert_eq!(verdict, Verdict::Welcome),
                [Err(Stranger::Turned(told)), Err(Stranger::Turned(_))] => {
                    assert_eq!(told, verdict);
                }
                both => panic!("{both:?}"),
            }
        }
    }

    #[tokio::test]
    async fn in_protocol_1_who_is_not_let_in_is_not_answered() {
        let (old, new) = (greeter("a", COOKIE, Protocol::OLDEST), newest("b", COOKIE));
        let both = meet(old, new, Wish::Link, Verdict::Removed).await;
        let [Err(Stranger::Refused), Err(Stranger::Turned(_))] = both else { panic!("{both:?}") };
    }
}
