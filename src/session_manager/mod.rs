//! A user's sessions wherever they are, and who gets a message.

pub mod delivery;
