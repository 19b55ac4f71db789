//! Ordered keys and values that survive the process: one trait, its backends.
