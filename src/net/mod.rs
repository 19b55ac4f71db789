//! Sockets: listening, TLS, reading, and one bounded outbox per connection.

pub mod connection;
pub mod listener;
pub mod network;
pub mod outbox;
pub mod peer_tls;
pub mod proxy_protocol;
pub mod socket;
pub mod tickets;
pub mod tls;
