//! Room 4: links to other servers, from any node, known to all.

mod adopted;
pub mod arrivals;
mod carrier;
pub mod certificate;
pub mod choice;
pub mod config;
pub mod connect;
pub mod dane;
pub mod fault;
pub mod flows;
pub mod heard;
mod keep;
pub mod leaving;
pub mod link;
pub mod links;
mod named;
pub mod outgoing;
mod own;
pub mod pace;
pub mod place;
pub mod rate;
pub mod rates;
pub mod reach;
pub mod resolve;
pub mod sending;
pub mod trust;
mod writer;
