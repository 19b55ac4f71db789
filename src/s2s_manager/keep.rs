//! The life of one link: it is opened, written to, and ended; and the short
//! life of a stream that only asks about a key.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::{Duration, sleep, timeout};
use tracing::{Instrument, debug, debug_span, info};

use crate::cluster::rows::LinkState;
use crate::metrics;
use crate::net::outbox::{Item, Outbox};
use crate::s2s_manager::fault::LinkError;
use crate::s2s_manager::heard::{Heard, STANZAS_MAX};
use crate::s2s_manager::link::{Link, Stands};
use crate::s2s_manager::links::Links;
use crate::s2s_manager::outgoing::{Dial, Done, Established};
use crate::s2s_manager::writer::{End, LAST_WORDS, Patience, Writer};
use crate::stream::ack::Acks;
use crate::stream::server::incoming::Question;
use crate::stream::server::outgoing::Purpose;
use crate::stream::server::{Pair, Policy, Proof, Verdict, World};

/// A link that ends sooner than this has failed: it would be opened again and
/// again. A guess.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// How long a server may take for our last words, and for its own. A guess.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the server of a domain may take to say whether a key is its own.
/// A guess, below the patience of whoever waits for it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

impl<T: Default + Unpin + Send + Sync + 'static> Links<T> {
    /// Opens a link and serves it to its end.
    pub(super) async fn keep(self: Arc<Self>, link: Arc<Link<T>>, policy: Policy) {
        let span = debug_span!("s2s", ours = %link.pair.ours, theirs = %link.pair.theirs);
        async {
            let begun = Instant::now();
            self.active.fetch_add(1, Ordering::Relaxed);
            // boxed: what the way in needs is given back when it is over, and an
            // idle link is small
            let opened = Box::pin(self.open(&link, policy)).await;
            match opened {
                Ok(Some(established)) => {
                    Box::pin(self.serve(&link, established, begun)).await;
                }
                // nobody wants it any more
                Ok(None) => {
                    self.left(&link, Vec::new(), None);
                }
                Err(error) => self.fail(&link, error, Vec::new()),
            }
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        .instrument(span)
        .await;
    }

    async fn open(
        &self,
        link: &Arc<Link<T>>,
        policy: Policy,
    ) -> Result<Option<Box<Established<T>>>, LinkError> {
        let mut dial = self.dial(link.pair.clone(), policy, Purpose::Stanzas);
        dial.previous = link.resume.as_ref().map(|resume| resume.previous.clone());
        let opened = timeout(self.trust.config.queue_time_max.get(), async {
            let _permit = self.opening.acquire().await;
            dial.connect::<T>().await
        });
        tokio::select! {
            () = link.end.notified() => Ok(None),
            opened = opened => match opened {
                Ok(opened) => opened.map(|established| Some(Box::new(established))),
                Err(_) => Err(LinkError::Late),
            },
        }
    }

    fn dial(&self, pair: Pair, policy: Policy, purpose: Purpose) -> Dial {
        let (trust, resolve) = (Arc::clone(&self.trust), Arc::clone(&self.resolve));
        Dial { trust, resolve, pair, policy, purpose, previous: None, heard: None }
    }

    async fn serve(
        self: &Arc<Self>,
        link: &Arc<Link<T>>,
        mut established: Box<Established<T>>,
        begun: Instant,
    ) {
        let Done::Proved(proof, acks) = established.done else { return };
        let stands = stands(&established, link, proof);
        info!(
            theirs = %link.pair.theirs,
            address = %stands.address,
            proof = proof.word(),
            is_certain = stands.is_certain,
            is_both_ways = stands.is_both_ways,
            milliseconds = begun.elapsed().as_millis(),
            "link to a server opened"
        );
        if let Acks::Resumed(_) = acks {
            info!(theirs = %link.pair.theirs, "the stream before goes on");
        }
        metrics::count(metrics::LINKS_OPENED, proof.word());
        let until = stands.is_certain.then(|| established.view.ends()).flatten();
        link.note_open(stands);
        self.note_success(&link.pair);
        self.tell(link, LinkState::Open);
        // another node may have been first while nobody here looked
        self.yield_to_others(link);
        let opened = Instant::now();
        let config = &self.trust.config;
        let (idle, answer) = (config.idle_timeout.get(), config.write_timeout.get());
        let is_both_ways = established.machine.is_both_ways();
        let heard = match is_both_ways {
            true => {
                established.framer.set_limits(self.heard.limits);
                self.heard().await
            }
            false => None,
        };
        let patience = Patience { idle, answer, until };
        let mut writer = Box::new(Writer::new(self, link, established, heard, patience));
        let end = writer.run(acks).await;
        if matches!(end, End::Wanted) {
            // what comes now waits for its end
            self.leave(link);
        }
        let (unwritten, resume) = Box::pin(writer.finish(&end)).await;
        let error = match end {
            End::Wanted => None,
            End::Closed | End::Lost => Some(LinkError::Lost),
            End::Wrong(_, fault) => Some(fault.into()),
        };
        let has_more = !unwritten.is_empty() || !link.outbox.is_empty();
        // at once, but not again and again
        let resume = resume.filter(|_| link.resume.is_none() || opened.elapsed() >= SHORT_LIFE);
        match error {
            Some(error) if resume.is_some() && (has_more || is_both_ways) => {
                debug!(%error, "a connection to a server is lost, and its stream may go on");
                self.begin_again(link, unwritten, resume);
            }
            // it would be opened again and again
            Some(error) if has_more && opened.elapsed() < SHORT_LIFE => {
                self.fail(link, error, unwritten);
            }
            error => {
                let error = error.as_ref().map(tracing::field::display);
                debug!(error, "link to a server ended");
                self.begin_again(link, unwritten, None);
            }
        }
    }

    /// Where stanzas of the other server go.
    async fn heard(&self) -> Option<mpsc::Sender<Box<Heard>>> {
        let (heard, stream) = mpsc::channel(STANZAS_MAX);
        self.heard.streams.send(stream).await.ok().map(|()| heard)
    }

    /// It is not tried again for a while, which all nodes know.
    fn fail(&self, link: &Arc<Link<T>>, error: LinkError, unwritten: Vec<Item<T>>) {
        let kind = error.kind();
        info!(
            theirs = %link.pair.theirs,
            error = &error as &dyn std::error::Error,
            "no link to a server comes about"
        );
        metrics::count(metrics::LINKS_FAILED, kind.word());
        let wait = self.note_failure(link, error);
        self.tell(link, LinkState::Failed(kind.code()));
        self.left(link, unwritten, Some(kind));
        let (cluster, number) = (Arc::clone(&self.cluster), link.number);
        tokio::spawn(async move {
            sleep(wait).await;
            cluster.remove(number);
        });
    }

    /// Asks the server of a domain whether a key is its own (XEP-0220 §2.2).
    pub async fn ask(&self, question: Question) -> Verdict {
        let Some(policy) = self.trust.config.policy(&question.pair.theirs) else {
            return Verdict::Unknown;
        };
        let pair = question.pair.clone();
        let dial = self.dial(pair.clone(), policy, Purpose::Ask(question));
        let asked = timeout(ANSWER_TIME_MAX, async {
            let _permit = self.asking.acquire().await;
            dial.connect::<()>().await
        });
        match asked.await {
            Ok(Ok(Established { done: Done::Answered(verdict), mut connection, .. })) => {
                let words = Outbox::new(0);
                words.finish(LAST_WORDS);
                tokio::spawn(async move {
                    let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&words)).await;
                    connection.shutdown().await;
                });
                verdict
            }
            Ok(Ok(_)) => Verdict::Unknown,
            Ok(Err(error)) => {
                debug!(theirs = %pair.theirs, %error, "nobody says whether a key is right");
                Verdict::Unknown
            }
            Err(_) => Verdict::Unknown,
        }
    }
}

fn stands<T>(established: &Established<T>, link: &Link<T>, proof: Proof) -> Stands {
    let tls = established.view.secured().map(|secured| (secured.version, secured.cipher));
    let is_certain = established.view.vouches(&link.pair.theirs);
    let is_both_ways = established.machine.is_both_ways();
    let address = established.address;
    Stands { since: Instant::now(), address, proof, is_certain, tls, is_both_ways }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of this function waits in.
    fn bytes<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// As above.
    fn bytes_of_four<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_link_waits_in_little_memory() {
        let task = bytes(Links::<()>::keep);
        let served = bytes_of_four(Links::<()>::serve);
        let writer = size_of::<Writer<'_, ()>>();
        let waits = task + served + writer;
        assert!(waits <= 4_096, "{task} + {served} + {writer} bytes");
    }
}
