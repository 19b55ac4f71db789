//! How much of everything one element may have.

/// The bounds of the gate. Each has one answer: the stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one first-level element, or of the stream header.
    pub stanza_bytes_max: usize,
    /// Elements within one another, the first-level one included.
    pub depth_max: u16,
    /// Attributes of one tag, namespace declarations not counted.
    pub attributes_max: u16,
    /// Namespace declarations of one tag.
    pub namespaces_max: u16,
    /// Elements of one stanza, itself included.
    pub elements_max: u32,
}

impl Limits {
    /// For a peer that has not proved who it is. The bytes hold a SASL
    /// message with a long client certificate name twice; the elements are
    /// ejabberd's limit of 2026.
    pub const fn unauthenticated() -> Self {
        Self { stanza_bytes_max: 16 * 1024, elements_max: 32, ..Self::client() }
    }

    /// For a client that has: 256 KiB as Prosody, the rest guesses well above
    /// what clients send.
    pub const fn client() -> Self {
        Self {
            stanza_bytes_max: 256 * 1024,
            depth_max: 64,
            attributes_max: 64,
            namespaces_max: 16,
            elements_max: 8192,
        }
    }

    /// None: for what has passed a gate already, here or on another node.
    pub const fn passed() -> Self {
        Self {
            stanza_bytes_max: usize::MAX,
            depth_max: u16::MAX,
            attributes_max: u16::MAX,
            namespaces_max: u16::MAX,
            elements_max: u32::MAX,
        }
    }
}
