//! Sockets: listening, TLS, reading, and one bounded outbox per connection.

pub mod connection;
pub mod listener;
pub mod outbox;
pub mod tls;
