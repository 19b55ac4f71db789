//! `[im]`: how large a roster may be.

use serde::{Deserialize, Serialize};

/// The section `[im]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Items of one roster; one more is refused with `resource-constraint`.
    pub roster_items_max: usize,
    /// Bytes of an item's name, or of the name of a group.
    pub roster_name_bytes_max: usize,
    /// Groups of one item.
    pub roster_groups_max: usize,
    /// Requests for an account's presence that wait for its answer; one more
    /// is ignored.
    pub requests_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        // guesses, above what people have
        Self {
            roster_items_max: 5_000,
            roster_name_bytes_max: 1_023,
            roster_groups_max: 50,
            requests_max: 200,
        }
    }
}
