//! Who cannot prove who it is, and has no other way, is refused on either
//! side: whoever wrote hears that it did not arrive.

use super::Two;
use super::authority::Shown;
use super::ours::OURS;
use super::peer::{Kind, Proof};
use super::person::Person;
use super::support::wire::attribute;
use super::world::{Papers, World};

/// Why a certificate is worth nothing.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Expired,
    OfAnotherName,
    OfAnUnknownAuthority,
}

impl Bad {
    fn papers(self, world: &World, name: &str) -> Papers {
        match self {
            Bad::Expired => world.papers(name, &Shown::Expired),
            Bad::OfAnotherName => world.papers(name, &Shown::Other("other.test".into())),
            Bad::OfAnUnknownAuthority => world.strange_papers(name),
        }
    }
}

/// The peer shows bad papers.
pub async fn they_are_refused(kind: Kind) {
    refuse(kind, kind.domain()).await;
}

/// We show bad papers, and the peer is as strict as we are.
pub async fn we_are_refused(kind: Kind) {
    refuse(kind, OURS).await;
}

async fn refuse(kind: Kind, who: &str) {
    for bad in [Bad::Expired, Bad::OfAnotherName, Bad::OfAnUnknownAuthority] {
        eprintln!("    {who} shows a certificate that is {bad:?}");
        let two = Two::with_papers(kind, Proof::External, 1, "", |world, name| {
            (name == who).then(|| bad.papers(world, name))
        });
        let mut romeo = two.here("romeo", 0).await;
        let mut anna = two.there("anna").await;
        let (here, there) = (romeo.jid.clone(), anna.jid.clone());
        bounces(&mut romeo, &there, bad).await;
        bounces(&mut anna, &here, bad).await;
    }
}

/// What is said does not arrive, and its sender hears so.
async fn bounces(person: &mut Person, to: &str, bad: Bad) {
    let text = format!("in-vain-{}", person.jid.len());
    person.write(to, &text).await;
    let answer = person.read(&text).await;
    assert_eq!(attribute(&answer, "type"), Some("error"), "{bad:?}: {answer}");
    assert!(answer.contains("remote-server-"), "{bad:?}: {answer}");
}
