//! Which characters XML 1.0 allows, and where. UTF-8 is checked here too.

use crate::xml::error::XmlError;

/// Whether each byte needs a closer look in text: controls, markup, `&`, `]`,
/// and everything outside ASCII.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'<' | b'&' | b']');
        byte += 1;
    }
    plain[b'\t' as usize] = true;
    plain[b'\n' as usize] = true;
    plain[b'\r' as usize] = true;
    plain
};

/// How many bytes at the start of `bytes` need no closer look.
pub fn plain_run(bytes: &[u8]) -> usize {
    let special = |byte: &u8| !PLAIN.get(usize::from(*byte)).copied().unwrap_or(false);
    bytes.iter().position(special).unwrap_or(bytes.len())
}

/// The same within the value of an attribute that `quote` ends.
pub fn plain_run_until(bytes: &[u8], quote: u8) -> usize {
    let plain = |byte: u8| PLAIN.get(usize::from(byte)).copied().unwrap_or(false);
    let special = |byte: &u8| *byte == quote || !plain(*byte);
    bytes.iter().position(special).unwrap_or(bytes.len())
}

/// What lies at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One allowed character of so many bytes.
    Character(usize),
    /// The bytes end within a character or reference.
    Cut,
}

/// Takes one character outside ASCII.
///
/// # Errors
/// [`XmlError::NotWellFormed`] for what is not UTF-8 or not an XML character.
pub fn wide(bytes: &[u8]) -> Result<Step, XmlError> {
    let length = match bytes.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => return Err(XmlError::NotWellFormed),
    };
    let window = bytes.get(..length).unwrap_or(bytes);
    match std::str::from_utf8(window) {
        Ok(text) if text.chars().all(is_character) => Ok(Step::Character(length)),
        Err(error) if error.error_len().is_none() && window.len() < length => Ok(Step::Cut),
        _ => Err(XmlError::NotWellFormed),
    }
}

/// The longest reference: `&#x0010FFFF;` and some more zeros.
const REFERENCE_BYTES_MAX: usize = 16;

/// Takes one reference, `&amp;` or `&#x41;`. `bytes` start with the `&`.
///
/// # Errors
/// [`XmlError::Restricted`] for an entity that is not among the five;
/// [`XmlError::NotWellFormed`] for what is no reference.
pub fn reference(bytes: &[u8]) -> Result<Step, XmlError> {
    let window = bytes.get(..REFERENCE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b';', window) else {
        let possible = window.iter().skip(1).all(|byte| is_reference_byte(*byte));
        return match (possible, window.len() < REFERENCE_BYTES_MAX) {
            (true, true) => Ok(Step::Cut),
            _ => Err(XmlError::NotWellFormed),
        };
    };
    let name = window.get(1..end).unwrap_or_default();
    match name.strip_prefix(b"#") {
        Some(number) => match character_of(number) {
            Some(_) => Ok(Step::Character(end + 1)),
            None => Err(XmlError::NotWellFormed),
        },
        None => match name {
            b"lt" | b"gt" | b"amp" | b"quot" | b"apos" => Ok(Step::Character(end + 1)),
            _ if !name.is_empty() && name.iter().all(|byte| is_reference_byte(*byte)) => {
                Err(XmlError::Restricted)
            }
            _ => Err(XmlError::NotWellFormed),
        },
    }
}

/// The character that `#`'s number names, if XML allows it.
pub fn character_of(number: &[u8]) -> Option<char> {
    let (digits, radix) = match number.strip_prefix(b"x") {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).ok()?;
    char::from_u32(code).filter(|c| is_character(*c))
}

fn is_reference_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'#'
}

/// XML 1.0, production 2.
pub fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// XML 1.0, production 3.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// XML 1.0 (fifth edition), production 4, without the colon.
pub fn is_name_start(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}'
        | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}'
        | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// XML 1.0 (fifth edition), production 4a, without the colon.
pub fn is_name(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
