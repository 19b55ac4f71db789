//! `[session_manager]`: how many sessions a user has, and who wins.

use serde::{Deserialize, Serialize};

use crate::units::Size;

/// The section `[session_manager]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What happens when a full JID is bound that is bound already, on
    /// whichever node.
    pub conflict: Conflict,
    /// Sessions of one account in the whole cluster. One more ends the
    /// oldest.
    pub sessions_per_user_max: usize,
    /// Messages stored for one account while nobody is there. One more comes
    /// back with `resource-constraint`.
    pub offline_messages_max: usize,
    /// The bytes of all of them.
    pub offline_bytes_max: Size,
}

/// Who keeps a full JID that is bound twice (RFC 6120 §7.7.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// The new session; the old one is closed with `conflict`.
    Replace,
    /// The old session; the new one is answered `conflict`.
    Refuse,
    /// Both; the new one gets another resource.
    Rename,
}

impl Default for Config {
    fn default() -> Self {
        // 10 as ejabberd's `max_user_sessions`.
        Self {
            conflict: Conflict::Replace,
            sessions_per_user_max: 10,
            // a guess, ten times ejabberd's example file
            offline_messages_max: 1_000,
            offline_bytes_max: Size::kibibytes(10 << 10),
        }
    }
}
