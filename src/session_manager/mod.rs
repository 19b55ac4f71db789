//! A user's sessions wherever they are, and who gets a message.

pub mod accounts;
pub mod config;
pub mod conflict;
pub mod delivery;
pub mod session;
pub mod sessions;
