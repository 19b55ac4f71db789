//! Many nodes, one service: who lives, what they tell each other, who answers for what.
//!
//! The pure half is a machine without sockets, clock or chance: `core` takes
//! news and the time, and pushes its wishes. Sockets, keys and disks are in
//! the drivers beside it.

pub mod moment;
pub mod node;

pub mod hash;
pub mod home;

pub mod members;
pub mod rows;
pub mod settings;

pub mod owners;
mod shard;
pub mod table;
pub mod tables;

pub mod frame;

mod own;
mod replica;
mod replicator;

mod custody;
mod inbound;
mod outbound;

mod greeting;
mod link;
mod membership;
mod patience;
pub mod peer;

pub mod news;
mod reading;
mod sending;

pub mod core;

pub mod config;
pub mod cookie;
pub mod keyring;
pub mod notice;
pub mod seal;
pub mod transport;

pub mod protocol;

#[cfg(test)]
mod golden;
mod gossip;
mod handshake;
mod mesh_tls;
pub mod proof;

pub mod asks;
pub mod events;
pub mod handle;
pub mod history;
pub mod receipt;
pub mod view;

mod address;
pub mod admission;
mod doorman;
pub mod driver;
pub mod durable;
pub mod joining;
mod line;
mod mesh;
pub mod registry;
pub mod seeds;
