//! May this node come? It asks before anybody sees it. One that was removed
//! waits here, and says so to whoever asks, until it is brought back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use crate::admin::requests::{Request, Response};
use crate::admin::socket;
use crate::cluster::admission::{Admission, ask};
use crate::cluster::keyring::Keyring;
use crate::cluster::node::Node;
use crate::cluster::proof::Verdict;
use crate::cluster::protocol::Protocol;
use crate::cluster::registry::Removal;
use crate::server::errors::StartError;

/// How often one that waits asks again: it may have been brought back from
/// elsewhere.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// Who wants to come, and where.
pub(super) struct Comer<'a> {
    pub(super) me: &'a Node,
    pub(super) ring: &'a Arc<Keyring>,
    pub(super) protocol: Protocol,
    pub(super) seeds: &'a [String],
    /// What its own store says.
    pub(super) removal: Option<Removal>,
}

/// How a node that asked goes on.
pub(super) enum Admitted {
    /// It starts; whoever let it in is there.
    Start(Option<SocketAddr>),
    /// The operator has stopped it meanwhile.
    Stop,
}

/// Returns when the node may start, or must not.
pub(super) async fn admitted(
    comer: &Comer<'_>,
    control: &UnixListener,
) -> Result<Admitted, StartError> {
    let mut has_said = false;
    loop {
        let asked = ask(comer.me, comer.ring, comer.protocol, comer.seeds, false).await;
        match asked.map_err(crate::cluster::driver::StartError::Other)? {
            Admission::Welcome { by, .. } => return Ok(Admitted::Start(Some(by))),
            Admission::Alone if comer.removal.is_none() => return Ok(Admitted::Start(None)),
            Admission::Alone | Admission::Refused { verdict: Verdict::Removed, .. } => {}
            Admission::Refused { by, verdict } => return Err(StartError::Refused { by, verdict }),
        }
        if !std::mem::replace(&mut has_said, true) {
            error!("{}", comer.words());
        }
        match comer.wait(control).await {
            Waited::Again => {}
            Waited::Returns(by) => return Ok(Admitted::Start(Some(by))),
            Waited::Stopped => return Ok(Admitted::Stop),
        }
    }
}

enum Waited {
    Again,
    Returns(SocketAddr),
    Stopped,
}

impl Comer<'_> {
    fn words(&self) -> String {
        let how = self.removal.as_ref().map(|removal| format!(" on {}", removal.by));
        format!(
            "{} was removed from the cluster{}, and stays outside; `jabiru join SEED` brings it back",
            self.me.name,
            how.unwrap_or_default()
        )
    }

    /// Answers commands for a while.
    async fn wait(&self, control: &UnixListener) -> Waited {
        let until = Instant::now() + ASK_INTERVAL;
        while let Ok(accepted) = timeout_at(until, control.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let Ok((request, mut writing)) = socket::hear(stream).await else { continue };
            let (response, waited) = match request {
                Ok(Request::Join { seed }) => self.join(seed).await,
                Ok(Request::Stop) => {
                    let message = format!("{} stops", self.me.name);
                    (Response::Done { message }, Some(Waited::Stopped))
                }
                Ok(_) => (Response::Failed { message: self.words() }, None),
                Err(response) => (response, None),
            };
            // whoever asked may have gone
            let _ = socket::tell(&mut writing, &response).await;
            if let Some(waited) = waited {
                return waited;
            }
        }
        Waited::Again
    }

    async fn join(&self, seed: String) -> (Response, Option<Waited>) {
        let message =
            match ask(self.me, self.ring, self.protocol, std::slice::from_ref(&seed), true).await {
                Ok(Admission::Welcome { by, .. }) => {
                    info!(%by, "this node is brought back");
                    let message = format!("{by} takes this node back; it starts");
                    return (Response::Again { message }, Some(Waited::Returns(by)));
                }
                Ok(Admission::Refused { by, verdict }) => {
                    format!("{by} does not let this node in: {verdict}")
                }
                Ok(Admission::Alone) => format!("no other node answers at {seed}"),
                Err(error) => error.to_string(),
            };
        (Response::Failed { message }, None)
    }
}
