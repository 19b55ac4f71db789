//! A user's sessions wherever they are, and who gets a message.

pub mod accounts;
pub mod blocked;
pub mod config;
pub mod conflict;
pub mod contacts;
pub mod delivery;
pub mod draining;
pub mod everywhere;
pub mod given;
#[cfg(test)]
mod golden;
pub mod handing;
pub mod hints;
pub mod inactive;
pub mod last;
pub mod made_up;
mod meeting;
pub mod offline;
pub mod orders;
pub mod session;
pub mod sessions;
pub mod shelf;
pub mod subscription;
