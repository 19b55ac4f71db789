//! RFC 6121: rosters, subscriptions, presence.

pub mod subscription;
