//! Before a node shows itself it asks: may it come? So a second node with the
//! name of another, a copied data directory for one, disturbs nobody, and one
//! that was removed hears so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use crate::cluster::handshake::{Greeter, Stranger};
use crate::cluster::keyring::Keyring;
use crate::cluster::node::{Node, NodeName};
use crate::cluster::proof::{Verdict, Wish};
use crate::cluster::protocol::Protocol;
use crate::cluster::seeds::look_up;

/// How long an answer may take. A seed that is there answers in milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// When one has answered, the others have so much longer.
const OTHERS_TIME_MAX: Duration = Duration::from_millis(300);

/// A name that is taken is asked for again for so long: the process that had
/// it may just have died, and others notice that within a second.
const TAKEN_TIME_MAX: Duration = Duration::from_secs(3);
const TAKEN_PAUSE: Duration = Duration::from_millis(200);

/// What a node hears that wants to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Welcome {
        /// Who says so.
        by: SocketAddr,
        /// Its name; one of an older version has not said it.
        name: Option<NodeName>,
    },
    /// It may not.
    Refused {
        /// Who says so.
        by: SocketAddr,
        /// Why.
        verdict: Verdict,
    },
    /// Nobody answers.
    Alone,
}

/// Asks for `me` at all addresses of `seeds`.
///
/// # Errors
/// When no certificate can be made.
pub async fn ask(
    me: &Node,
    ring: &Arc<Keyring>,
    newest: Protocol,
    seeds: &[String],
    returns: bool,
) -> anyhow::Result<Admission> {
    let greeter = Arc::new(Greeter::new(me.clone(), Arc::clone(ring), newest)?);
    let wish = if returns { Wish::Return } else { Wish::Inquire };
    let begin = Instant::now();
    loop {
        let admission = ask_once(&greeter, look_up(seeds).await, wish).await;
        let is_taken = matches!(admission, Admission::Refused { verdict: Verdict::NameTaken, .. });
        if !is_taken || begin.elapsed() > TAKEN_TIME_MAX {
            return Ok(admission);
        }
        sleep(TAKEN_PAUSE).await;
    }
}

async fn ask_once(
    greeter: &Arc<Greeter>,
    addresses: BTreeSet<SocketAddr>,
    wish: Wish,
) -> Admission {
    let mut asked = JoinSet::new();
    for address in addresses {
        let greeter = Arc::clone(greeter);
        asked.spawn(async move {
            let dialed = timeout(ANSWER_TIME_MAX, dial(&greeter, address, wish)).await;
            (address, dialed.ok().flatten())
        });
    }
    let mut until = Instant::now() + ANSWER_TIME_MAX;
    let mut heard = Admission::Alone;
    while let Ok(Some(answer)) = timeout_at(until, asked.join_next()).await {
        let Ok((by, Some((verdict, name)))) = answer else { continue };
        until = until.min(Instant::now() + OTHERS_TIME_MAX);
        heard = weightier(heard, by, verdict, name);
    }
    heard
}

/// A taken name weighs most: only who hears the other node knows of it. Who
/// says that we were removed may only not know yet that we were asked back.
fn weightier(
    heard: Admission,
    by: SocketAddr,
    verdict: Verdict,
    name: Option<NodeName>,
) -> Admission {
    let weight = |verdict| match verdict {
        Verdict::NameTaken => 4,
        Verdict::Normaliser => 3,
        Verdict::Welcome => 2,
        Verdict::Removed | Verdict::Failed => 1,
        Verdict::Yourself => 0,
    };
    let before = match &heard {
        Admission::Alone => 0,
        Admission::Welcome { .. } => weight(Verdict::Welcome),
        Admission::Refused { verdict, .. } => weight(*verdict),
    };
    match verdict {
        _ if weight(verdict) <= before => heard,
        Verdict::Welcome => Admission::Welcome { by, name },
        verdict => Admission::Refused { by, verdict },
    }
}

async fn dial(
    greeter: &Greeter,
    address: SocketAddr,
    wish: Wish,
) -> Option<(Verdict, Option<NodeName>)> {
    let tcp = TcpStream::connect(address).await.ok()?;
    match greeter.dial(tcp, wish).await {
        Ok(greeted) => Some((Verdict::Welcome, Some(greeted.node.name))),
        Err(Stranger::Turned(verdict)) => Some((verdict, None)),
        // it is of an older version, which asks nobody
        Err(Stranger::Inquired) => Some((Verdict::Welcome, None)),
        Err(stranger) => {
            debug!(%address, %stranger, "a seed cannot be asked");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_weighs_most_and_a_removal_least() {
        let by = SocketAddr::from(([192, 0, 2, 1], 4369));
        let hear = |verdicts: &[Verdict]| {
            verdicts.iter().fold(Admission::Alone, |heard, one| weightier(heard, by, *one, None))
        };
        let refused = |verdict| Admission::Refused { by, verdict };
        assert_eq!(hear(&[Verdict::Yourself]), Admission::Alone);
        assert_eq!(
            hear(&[Verdict::Removed, Verdict::Welcome]),
            Admission::Welcome { by, name: None }
        );
        assert_eq!(
            hear(&[Verdict::Welcome, Verdict::Removed]),
            Admission::Welcome { by, name: None }
        );
        assert_eq!(hear(&[Verdict::Removed]), refused(Verdict::Removed));
        let taken = [Verdict::NameTaken, Verdict::Welcome, Verdict::Removed];
        assert_eq!(hear(&taken), refused(Verdict::NameTaken));
    }
}
