//! From an open socket to a bound session, or to a component or a server that
//! has proved who it is: negotiation as states. Pure.

pub mod ack;
pub mod component;
pub mod negotiation;
pub mod sasl;
pub mod server;
