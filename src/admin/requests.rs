//! What an operator can ask of a running node, and what it says: one JSON
//! object a line, both ways.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::admin::report::Status;

/// The longest line, in bytes: a password has at most a thousand.
pub const LINE_BYTES_MAX: usize = 64 << 10;

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
    /// How all nodes are.
    Status(Status),
    /// Who is connected.
    Sessions {
        /// Some of them.
        sessions: Vec<SessionLine>,
        /// How many there are in all.
        count: usize,
    },
    /// Which accounts there are.
    Users {
        /// Some of them, in their order.
        accounts: Vec<String>,
        /// Where the next ones begin.
        next: Option<String>,
    },
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
}
