//! From an open socket to a bound session: negotiation as states. Pure.

pub mod negotiation;
pub mod sasl;
