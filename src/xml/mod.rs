//! The gate: what is XML, what is a stream, where one stanza ends. Pure.
