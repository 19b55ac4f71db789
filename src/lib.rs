//! Jabiru: a masterless XMPP cluster server.
//!
//! A stanza comes in at the top, goes down once, and leaves at the bottom.
//! Nothing below calls up: lower rooms *answer*, and the room above acts on
//! the answer. A room imports only rooms that stand above it in this list
//! (`tests/floors.rs` holds it).

pub mod drain;
#[cfg(test)]
mod golden;
pub mod metrics;
pub mod units;

pub mod xml;

pub mod xmpp;

pub mod net;
pub mod storage;
pub mod stream;

pub mod cluster;

pub mod s2s_manager;
pub mod session_manager;

pub mod extension;

pub mod im;
pub mod local_router;
pub mod xep;

pub mod router;

pub mod admin;
pub mod door;

pub mod cli;
pub mod config;
pub mod server;
