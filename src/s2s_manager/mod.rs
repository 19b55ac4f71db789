//! Room 4: links to other servers, from any node, known to all.

mod adopted;
pub mod arrivals;
pub mod certificate;
pub mod choice;
pub mod config;
pub mod connect;
pub mod fault;
pub mod heard;
mod keep;
pub mod leaving;
pub mod link;
pub mod links;
pub mod outgoing;
pub mod place;
pub mod reach;
pub mod resolve;
pub mod sending;
pub mod trust;
mod writer;
