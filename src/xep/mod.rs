//! Extensions: one file each.
