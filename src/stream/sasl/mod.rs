//! Who is there: the server's side of SASL (RFC 6120 §6). Pure.

pub mod credentials;
pub mod failure;
pub mod hash;
pub mod mechanism;
pub mod plain;
pub mod scram;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stream::sasl::failure::Failure;

/// Bytes of one message of a client, decoded. A guess; the longest real one
/// holds a name, a nonce and a channel binding.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// What `<auth/>` or `<response/>` holds: `None` for an empty element, which
/// is no message, and an empty message for a single `=` (RFC 6120 §6.4.2).
///
/// # Errors
/// [`Failure::IncorrectEncoding`].
pub fn decode(text: &str) -> Result<Option<Vec<u8>>, Failure> {
    match text {
        "" => Ok(None),
        "=" => Ok(Some(Vec::new())),
        _ if text.len() > MESSAGE_BYTES_MAX * 4 / 3 => Err(Failure::MalformedRequest),
        _ => STANDARD.decode(text).map(Some).map_err(|_| Failure::IncorrectEncoding),
    }
}

/// The text of a message on the wire.
pub fn encode(message: &[u8]) -> String {
    if message.is_empty() { "=".to_owned() } else { STANDARD.encode(message) }
}
