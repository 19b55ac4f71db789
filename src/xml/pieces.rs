//! The elements of a payload, each as bytes that mean the same anywhere: for
//! what is kept as it came.

use bytes::{Bytes, BytesMut};

use crate::xml::error::XmlError;
use crate::xml::framer::{Frame, Framer};
use crate::xml::head::Raw;
use crate::xml::limits::Limits;

/// Cuts a payload that has passed the gate into its elements; white space
/// between them is left out.
///
/// # Errors
/// [`XmlError`] where there is text between them, or where one uses a prefix
/// that is declared outside of it: its bytes alone would mean nothing.
pub fn pieces(payload: &Bytes) -> Result<Vec<Raw>, XmlError> {
    let mut framer = Framer::inside(Limits::passed());
    let mut buffer = BytesMut::from(&payload[..]);
    let mut pieces = Vec::new();
    while let Some(frame) = framer.next(&mut buffer)? {
        match frame {
            Frame::Element(raw) => pieces.push(raw),
            Frame::Open(_) | Frame::Close => return Err(XmlError::NotWellFormed),
        }
    }
    match buffer.iter().all(u8::is_ascii_whitespace) {
        true => Ok(pieces),
        false => Err(XmlError::NotWellFormed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &'static str, expected: &[&str]) {
        let pieces = pieces(&Bytes::from_static(payload.as_bytes())).expect("whole elements");
        let texts: Vec<_> =
            pieces.iter().map(|raw| String::from_utf8_lossy(&raw.bytes).into_owned()).collect();
        assert_eq!(texts, expected, "{payload}");
    }

    #[test]
    fn each_element_is_a_piece() {
        check("", &[]);
        check(" <a/>\n<b xmlns='u'><c/>t</b> ", &["<a/>", "<b xmlns='u'><c/>t</b>"]);
        check("<p:a xmlns:p='u' p:x='1'/>", &["<p:a xmlns:p='u' p:x='1'/>"]);
    }

    #[test]
    fn what_means_nothing_alone_is_no_piece() {
        for payload in ["<p:a/>", "<a p:x='1'/>", "<a/>text", "text", "<a>", "</a>"] {
            assert!(pieces(&Bytes::from_static(payload.as_bytes())).is_err(), "{payload}");
        }
    }
}
