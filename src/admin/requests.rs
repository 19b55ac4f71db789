//! What an operator can ask of a running node, and what it says: one JSON
//! object a line, both ways.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::admin::belongings::{OfflineLine, Place};
use crate::admin::components::ComponentLine;
use crate::admin::report::Status;
use crate::admin::sending::TextKind;
use crate::admin::servers::{ServerLine, ServersRequest};
use crate::cluster::history::What;
use crate::cluster::registry::Removal;
use crate::units::Span;

/// The longest line, in bytes: a vCard with a photograph.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How are all nodes?
    Status,
    /// Who is connected, anywhere?
    Sessions {
        /// Only this account's; without it everybody's.
        account: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// Make an account.
    UserAdd {
        /// Its bare JID.
        account: String,
        /// Its password.
        password: String,
    },
    /// Remove an account, and end its sessions.
    UserRemove {
        /// Its bare JID.
        account: String,
    },
    /// Give an account another password.
    UserPassword {
        /// Its bare JID.
        account: String,
        /// The new one.
        password: String,
    },
    /// Which accounts are there?
    UserList {
        /// From this one on.
        from: String,
    },
    /// An account may not be used any more, and its sessions end.
    Ban {
        /// Its bare JID.
        account: String,
        /// Why; may be empty.
        reason: String,
    },
    /// An account may be used again.
    Unban {
        /// Its bare JID.
        account: String,
    },
    /// Which accounts may not be used?
    Bans {
        /// From this one on.
        from: String,
    },
    /// Who is in this roster?
    Roster {
        /// Whose.
        account: String,
    },
    /// A contact shall be in a roster.
    RosterAdd {
        /// Whose.
        account: String,
        /// Whom.
        contact: String,
        /// How.
        place: Place,
    },
    /// A contact shall leave a roster.
    RosterRemove {
        /// Whose.
        account: String,
        /// Whom.
        contact: String,
    },
    /// What waits for this account?
    Offline {
        /// Its bare JID.
        account: String,
    },
    /// Throw away what waits for an account.
    OfflineClear {
        /// Its bare JID.
        account: String,
    },
    /// What does this account say of itself?
    Vcard {
        /// Its bare JID.
        account: String,
    },
    /// An account shall say this of itself.
    VcardSet {
        /// Its bare JID.
        account: String,
        /// The `<vCard/>` element.
        vcard: String,
    },
    /// Send a message.
    Send {
        /// In whose name.
        from: String,
        /// To whom.
        to: String,
        /// As what.
        kind: TextKind,
        /// What it says.
        text: String,
    },
    /// Send a stanza.
    SendStanza {
        /// The whole element.
        stanza: String,
    },
    /// Tell something to everybody who is online.
    Announce {
        /// Of this domain; without it, of all.
        domain: Option<String>,
        /// Its subject.
        subject: Option<String>,
        /// What it says.
        text: String,
    },
    /// End the sessions of an account, or of one full JID.
    Kick {
        /// The address.
        address: String,
    },
    /// Write all durable rows into a file.
    Backup {
        /// Its absolute path; this node opens it.
        file: PathBuf,
    },
    /// Bring back the rows of such a file.
    Restore {
        /// Its absolute path; this node opens it.
        file: PathBuf,
        /// Those that have another value now as well.
        overwrite: bool,
    },
    /// Meet the cluster of another node.
    Join {
        /// Its address.
        seed: String,
    },
    /// Leave the cluster for good.
    Leave {
        /// Which node; without it, this one.
        node: Option<String>,
    },
    /// Which nodes are there, and which were there?
    Nodes,
    /// What has happened?
    Events {
        /// At most so many.
        limit: usize,
    },
    /// Something about other servers.
    Servers(ServersRequest),
    /// Send new clients to other nodes.
    Drain {
        /// When those who are left are asked to move; without it they stay.
        deadline: Option<Span>,
    },
    /// Let new clients in again.
    Undrain,
    /// Which components are connected, anywhere?
    Components,
    /// An instance shall get nothing that another can take, or shall again.
    ComponentDrain {
        /// One of its domains.
        domain: String,
        /// Its name.
        instance: String,
        /// Whether it drains from now on.
        drains: bool,
    },
    /// End this node in good order.
    Stop,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Response {
    /// It was done.
    Done {
        /// In words.
        message: String,
    },
    /// It was not done.
    Failed {
        /// Why.
        message: String,
    },
    /// It has begun: ask again.
    Again {
        /// In words.
        message: String,
    },
    /// How all nodes are.
    Status(Status),
    /// All nodes of the cluster.
    Nodes {
        /// By name.
        nodes: Vec<MemberLine>,
    },
    /// What has happened.
    Events {
        /// The oldest first.
        events: Vec<EventLine>,
        /// Nodes that did not answer.
        silent: Vec<String>,
    },
    /// Who is connected.
    Sessions {
        /// Some of them.
        sessions: Vec<SessionLine>,
        /// How many there are in all.
        count: usize,
    },
    /// Which components are connected.
    Components {
        /// By domain and name.
        components: Vec<ComponentLine>,
        /// Nodes that did not answer.
        silent: Vec<String>,
    },
    /// Which accounts there are.
    Users {
        /// Some of them, in their order.
        accounts: Vec<String>,
        /// Where the next ones begin.
        next: Option<String>,
    },
    /// Which accounts may not be used.
    Bans {
        /// Some of them, in their order.
        bans: Vec<BanLine>,
        /// Where the next ones begin.
        next: Option<String>,
    },
    /// Who is in a roster.
    Roster {
        /// All of them.
        contacts: Vec<ContactLine>,
    },
    /// What waits for an account.
    Offline {
        /// All heads, oldest first.
        messages: Vec<OfflineLine>,
    },
    /// What an account says of itself.
    Vcard {
        /// The `<vCard/>` element.
        vcard: String,
    },
    /// The streams from and to other servers.
    Servers {
        /// Those of all nodes.
        servers: Vec<ServerLine>,
    },
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    /// Its name.
    pub node: String,
    /// As in a status, or `gone`, or `removed`.
    pub state: String,
    /// Where it is, or was last.
    pub address: String,
    /// Its software.
    pub version: String,
    /// How it was removed.
    pub removed: Option<Removal>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// When, in milliseconds since 1970, by the clock of that node.
    pub at: u64,
    /// Which node says so.
    pub node: String,
    /// In words.
    pub words: String,
    /// For machines.
    pub what: What,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLine {
    /// Its full JID.
    pub jid: String,
    /// The name of its node.
    pub node: String,
    /// Its priority; none until it is available.
    pub priority: Option<i8>,
    /// When it was bound, in milliseconds since 1970.
    pub bound: u64,
    /// Where its client connects from; nothing: its node does not say.
    #[serde(default)]
    pub address: Option<String>,
}

/// One account that may not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanLine {
    /// Its bare JID.
    pub account: String,
    /// Since when, as XEP-0082 writes it.
    pub since: String,
    /// Why; may be empty.
    pub reason: String,
}

/// One contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactLine {
    /// Its bare JID.
    pub jid: String,
    /// Its name; may be empty.
    pub name: String,
    /// Its groups.
    pub groups: BTreeSet<String>,
    /// `none`, `to`, `from` or `both`.
    pub subscription: String,
    /// Who has asked and was not answered: empty, `out` (the account), `in`
    /// (the contact) or `both`.
    pub pending: String,
    /// Not so: it has only asked.
    pub is_in_roster: bool,
}
