//! From an open socket to a bound session, or to a component's stream:
//! negotiation as states. Pure.

pub mod component;
pub mod negotiation;
pub mod sasl;
