//! Nodes that have gone and come: each node tells its own sessions whom they
//! do not see any more, and the homes of the lost accounts act once for all
//! others (RFC 6121 §4.5).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::info;

use crate::cluster::members::Members;
use crate::cluster::node::NodeId;
use crate::extension::Verdict;
use crate::im::presence::{self, watched, watchers};
use crate::router::Router;
use crate::router::act::Way;
use crate::router::parcel::{Label, Target};
use crate::session_manager::session::Session;
use crate::xmpp::jid::{BareJid, FullJid};
use crate::xmpp::kind::PresenceType;
use crate::xmpp::stanza::Stanza;

/// Available sessions that were lost with their node, by account.
type Lost = HashMap<BareJid, Vec<FullJid>>;

/// Nodes that may wait to be told of our sessions; as many as a cluster has.
const UNANNOUNCED_MAX: usize = 256;

/// How long after the loss of a node its last words may wait for our disk. A
/// guess: longer than a change waits for its home.
const SETTLE_TIME: Duration = Duration::from_secs(5);

impl Router {
    /// The set of visible nodes has changed.
    pub fn note_members(&self, members: &Members) {
        let now: BTreeSet<NodeId> = members.others().map(|member| member.node.id).collect();
        let before = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, now.clone())
        };
        for node in before.difference(&now) {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.note_lost(*node);
        }
        if !before.is_subset(&now) {
            self.show_everybody();
        }
        for node in now.difference(&before) {
            // its sessions may be new to ours, or were told to be gone
            let label = Label::new(Target::Announce, 1);
            self.rooms.cluster.deliver(*node, label.pack(&Bytes::new()));
            self.note_come(*node);
            if self.unannounced.lock().unwrap_or_else(PoisonError::into_inner).remove(node) {
                self.announce(*node);
            }
        }
        // accounts of nodes that have gone are at home here now
        self.finish_removals();
    }

    /// A node asks for the presence of our sessions. It may see us before we
    /// see it: then it is told as soon as we do.
    pub(super) fn announce_when_seen(&self, to: NodeId) {
        let is_known = self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&to);
        if is_known {
            return self.announce(to);
        }
        let mut unannounced = self.unannounced.lock().unwrap_or_else(PoisonError::into_inner);
        // one that never comes is forgotten when another does not either
        if unannounced.len() >= UNANNOUNCED_MAX {
            unannounced.clear();
        }
        unannounced.insert(to);
    }

    /// Whoever is home in the place of a lost node first has on its disk what
    /// that node has told it.
    pub(super) async fn settle(&self) {
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_some_and(|lost| lost.elapsed() < SETTLE_TIME) {
            self.rooms.durable.settle().await;
        }
    }

    /// Sessions that are seen again may want what was stored meanwhile.
    fn note_come(&self, node: NodeId) {
        let Some(router) = self.this.upgrade() else { return };
        tokio::task::spawn_blocking(move || {
            let sessions = &router.rooms.cluster.tables().sessions;
            sessions.for_each_of(node, |entry| router.call_if_home(&entry.row));
        });
    }

    fn note_lost(&self, node: NodeId) {
        let Some(router) = self.this.upgrade() else { return };
        tokio::task::spawn_blocking(move || {
            let (mut lost, mut all) = (Lost::new(), Vec::new());
            router.rooms.cluster.tables().sessions.for_each_of(node, |entry| {
                let Ok(jid) = FullJid::parse(&entry.row.jid) else { return };
                all.push(jid.clone());
                if entry.row.priority.is_some() {
                    lost.entry(jid.bare()).or_default().push(jid);
                }
            });
            router.tell_own_instances(&all);
            if lost.is_empty() {
                return;
            }
            let sessions: usize = lost.values().map(Vec::len).sum();
            info!(%node, sessions, "sessions were lost with their node");
            router.tell_own_sessions(&lost);
            router.act_at_home(&lost);
        });
    }

    /// Tells our own sessions of the lost ones that they saw.
    fn tell_own_sessions(&self, lost: &Lost) {
        let mut seen: HashMap<BareJid, Arc<Vec<BareJid>>> = HashMap::new();
        for session in self.rooms.sessions.all_here() {
            if session.row().priority.is_none() {
                continue;
            }
            let account = session.jid.bare();
            let watched = seen.entry(account.clone()).or_insert_with(|| {
                let watched = watched(&account, &self.contacts(&account)).into_iter();
                Arc::new(watched.filter(|contact| lost.contains_key(contact)).collect())
            });
            self.tell_lost(&session, &account, watched, lost);
        }
    }

    fn tell_lost(&self, session: &Session, account: &BareJid, watched: &[BareJid], lost: &Lost) {
        let mut heard = session.heard();
        let by_roster = watched.iter().filter_map(|contact| lost.get(contact)).flatten().cloned();
        let directed = heard
            .iter()
            .filter(|jid| lost.get(&jid.bare()).is_some_and(|sessions| sessions.contains(jid)));
        let gone: BTreeSet<FullJid> = by_roster.chain(directed.cloned()).collect();
        for jid in gone {
            heard.remove(&jid);
            // a node that comes and goes may have gone before it was seen
            if !self.is_taken(&jid, 0) && session.missing().insert(jid.clone()) {
                let from = jid.into();
                let to = Some(account.clone().into());
                let stanza = presence::bare(PresenceType::Unavailable, from, to);
                if self.may_pass(&stanza) {
                    self.write_presence(session, stanza.write());
                }
            }
        }
    }

    /// Tells our own instances of components of the lost ones that were there
    /// for them, if for nobody else: whoever is in a room leaves it.
    fn tell_own_instances(&self, lost: &[FullJid]) {
        for instance in self.components.all_here() {
            for jid in lost {
                let told = instance.forget_told(jid);
                if self.is_taken(jid, 0) {
                    continue;
                }
                for to in told {
                    let from = jid.as_jid().clone();
                    let stanza = presence::bare(PresenceType::Unavailable, from, Some(to));
                    self.give_to(&instance, stanza.write());
                }
            }
        }
    }

    /// Whether presence would have gone this way before the node was lost.
    fn may_pass(&self, presence: &Stanza) -> bool {
        self.local.sent(presence) == Verdict::Pass && self.local.arriving(presence) == Verdict::Pass
    }

    /// What must happen once for each lost account, wherever it is at home:
    /// other servers are told, its last activity is noted, and what its
    /// sessions had not been given goes to another.
    fn act_at_home(&self, lost: &Lost) {
        let members = self.rooms.cluster.members();
        for (account, sessions) in lost {
            if members.home(account.as_str().as_bytes()) != self.me() {
                continue;
            }
            let contacts = self.contacts(account);
            let elsewhere = watchers(account, &contacts).into_iter();
            let elsewhere: Vec<BareJid> =
                elsewhere.filter(|contact| !self.rooms.serves(contact.domain())).collect();
            for jid in sessions.iter().filter(|jid| !self.is_taken(jid, 0)) {
                for contact in &elsewhere {
                    let to = Some(contact.clone().into());
                    let from = jid.as_jid().clone();
                    let stanza = presence::bare(PresenceType::Unavailable, from, to);
                    if self.may_pass(&stanza) {
                        self.carry(stanza, Way::default());
                    }
                }
            }
            self.note_last(account, None);
            self.call(account);
        }
    }
}
