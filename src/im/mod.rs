//! RFC 6121: rosters, subscriptions, presence. What a request does to a
//! subscription is in `session_manager/subscription`; who carries out what is
//! decided here, the router.

pub mod config;
pub mod presence;
pub mod provisioning;
pub mod roster;
pub mod subscribing;

use crate::extension::Extension;

/// The extensions of this room, in the order in which they are asked.
pub fn all(config: &config::Config) -> Vec<Box<dyn Extension>> {
    vec![Box::new(roster::Roster { config: config.clone() })]
}
