//! What the tests of federation share.

#![allow(dead_code, unreachable_pub)]

pub mod acceptor;
pub mod authority;
pub mod dns;
pub mod person;
pub mod service;
pub mod stranger;
pub mod way;
pub mod zone;
