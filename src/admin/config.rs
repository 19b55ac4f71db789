//! `[admin]`: where the operator's doors are.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The section `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The local socket for commands; only its owner may use it.
    pub socket: PathBuf,
    /// Where health, readiness and metrics are told by HTTP. It has no
    /// passwords: an address that only those who watch can reach.
    pub http_listen: Vec<SocketAddr>,
    /// Accounts that may administer the service by their clients (XEP-0133).
    pub admins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: "data/control.sock".into(),
            http_listen: vec![SocketAddr::from(([127, 0, 0, 1], 5280))],
            admins: Vec::new(),
        }
    }
}
