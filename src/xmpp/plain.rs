//! Addresses that are in their normal form already, as nearly all are: seen in
//! one pass, without tables. What is not plain goes through `prep`.

use crate::xmpp::prep::{LABEL_BYTES_MAX, PART_BYTES_MAX};

/// Where the parts of a plain address are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Bytes of the local part; 0 where there is none.
    pub(super) local: usize,
    /// Bytes of everything before the `/`.
    pub(super) bare: usize,
}

/// In which parts of a plain address a byte may stand, and the one that labels
/// may not begin or end with.
const LOCAL: u8 = 1;
const DOMAIN: u8 = 2;
const RESOURCE: u8 = 4;
const HYPHEN: u8 = 8;

/// The classes of each byte.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    while byte < 0x7F {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' => LOCAL | DOMAIN | RESOURCE,
            b'-' => LOCAL | DOMAIN | RESOURCE | HYPHEN,
            b'+' => LOCAL | RESOURCE,
            b' '..=b'~' => RESOURCE,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// The parts of an address that `prep` would leave as it is; `None`: it may
/// be another, or none at all.
pub(super) fn parts(text: &str) -> Option<Parts> {
    let bytes = text.as_bytes();
    let slash = memchr::memchr(b'/', bytes);
    let bare = slash.unwrap_or(bytes.len());
    let at = memchr::memchr(b'@', bytes.get(..bare)?);
    if let Some(at) = at {
        part(bytes.get(..at)?, LOCAL)?;
    }
    let domain = bytes.get(at.map_or(0, |at| at + 1)..bare)?;
    let seen = part(domain, DOMAIN)?;
    // short labels without hyphens have only to be there
    let are_labels = match seen & HYPHEN == 0 && domain.len() <= LABEL_BYTES_MAX {
        true => {
            let ends = [domain.first(), domain.last()];
            !ends.contains(&Some(&b'.')) && !domain.windows(2).any(|pair| pair == b"..")
        }
        false => domain.split(|byte| *byte == b'.').all(is_label),
    };
    if !are_labels {
        return None;
    }
    if let Some(slash) = slash {
        part(bytes.get(slash + 1..)?, RESOURCE)?;
    }
    Some(Parts { local: at.unwrap_or(0), bare })
}

/// All classes that are seen in a part whose bytes are all of `class`.
fn part(bytes: &[u8], class: u8) -> Option<u8> {
    let both = |(all, any): (u8, u8), byte: &u8| {
        let of = CLASSES.get(usize::from(*byte)).copied().unwrap_or(0);
        (all & of, any | of)
    };
    let (all, any) = bytes.iter().fold((u8::MAX, 0), both);
    let is_sized = !bytes.is_empty() && bytes.len() <= PART_BYTES_MAX;
    (is_sized && all & class != 0).then_some(any)
}

fn is_label(label: &[u8]) -> bool {
    let ends = [label.first(), label.last()];
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !ends.contains(&Some(&b'-'))
        && !label.starts_with(b"xn--")
}
