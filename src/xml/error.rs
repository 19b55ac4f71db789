//! Why the gate stays shut.

/// What is wrong with the bytes of a stream. After one of these nothing more
/// is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum XmlError {
    /// Not XML, or not XML with namespaces (RFC 6120 §11.3).
    #[error("not well-formed")]
    NotWellFormed,
    /// A comment, processing instruction, DTD or entity (RFC 6120 §11.1).
    #[error("restricted XML")]
    Restricted,
    /// Declared or recognised as something else than UTF-8 (RFC 6120 §11.6).
    #[error("unsupported encoding")]
    UnsupportedEncoding,
    /// An XML version other than 1.0.
    #[error("unsupported version of XML")]
    UnsupportedVersion,
    /// Text where only elements may be.
    #[error("text between stanzas")]
    TextBetweenStanzas,
    /// More bytes than one element may have.
    #[error("element too large")]
    TooLarge,
    /// Elements within elements beyond the limit.
    #[error("elements too deep")]
    TooDeep,
    /// More attributes than one tag may have.
    #[error("too many attributes")]
    TooManyAttributes,
    /// More namespace declarations than one tag may have.
    #[error("too many namespace declarations")]
    TooManyNamespaces,
    /// More elements than one stanza may have.
    #[error("too many elements")]
    TooManyElements,
}
