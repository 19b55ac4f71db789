//! The operator's socket, health and metrics.
