//! Sockets: listening, TLS, reading, and one bounded outbox per connection.
