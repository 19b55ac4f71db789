//! The gate: what is XML, what is a stream, where one stanza ends. Pure.
//!
//! quick-xml is not the gate. It is a tokenizer and lets pass what RFC 6120
//! §11 forbids: of the 23 inputs in `tests/gate.rs` it takes 15. It reads and
//! writes, behind the gate, the few elements that the server itself
//! understands (`element`).

mod assembly;
pub mod characters;
pub mod element;
pub mod error;
pub mod escape;
pub mod framer;
pub mod head;
pub mod header;
pub mod limits;
pub mod namespaces;
pub mod pieces;
pub mod tag;
