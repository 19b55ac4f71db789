//! Addresses that are in their normal form already, as nearly all are: seen in
//! one pass, without tables. What is not plain goes through `prep`.

use std::ops::Range;

use crate::xmpp::prep::{LABEL_BYTES_MAX, PART_BYTES_MAX};

/// Where the parts of a plain address are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Bytes of the local part; 0 where there is none.
    pub(super) local: usize,
    /// Bytes of everything before the `/`.
    pub(super) bare: usize,
}

/// The parts of an address that `prep` would leave as it is; `None`: it may
/// be another, or none at all.
pub(super) fn parts(text: &str) -> Option<Parts> {
    let bytes = text.as_bytes();
    let slash = memchr::memchr(b'/', bytes);
    let bare = slash.unwrap_or(bytes.len());
    let at = memchr::memchr(b'@', bytes.get(..bare)?);
    let of = |range: Range<usize>, is_plain: fn(&u8) -> bool| {
        let part = bytes.get(range)?;
        let is_sized = !part.is_empty() && part.len() <= PART_BYTES_MAX;
        (is_sized && part.iter().all(is_plain)).then_some(part)
    };
    if let Some(at) = at {
        of(0..at, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'+'))?;
    }
    let domain = of(
        at.map_or(0, |at| at + 1)..bare,
        |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'),
    )?;
    if !domain.split(|byte| *byte == b'.').all(is_label) {
        return None;
    }
    if let Some(slash) = slash {
        of(slash + 1..bytes.len(), |byte| matches!(byte, b' '..=b'~'))?;
    }
    Some(Parts { local: at.unwrap_or(0), bare })
}

fn is_label(label: &[u8]) -> bool {
    let ends = [label.first(), label.last()];
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !ends.contains(&Some(&b'-'))
        && !label.starts_with(b"xn--")
}
