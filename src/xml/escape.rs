//! Text into XML and back.

use std::borrow::Cow;

use crate::xml::characters::character_of;

/// Writes text between tags.
pub fn escape_text(text: &str, out: &mut Vec<u8>) {
    escape(text, out, |byte| match byte {
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'&' => Some(b"&amp;"),
        // A bare one would be read as a line feed.
        b'\r' => Some(b"&#xD;"),
        _ => None,
    });
}

/// Writes the value of an attribute, without its quotes, which may be either.
pub fn escape_attribute(text: &str, out: &mut Vec<u8>) {
    escape(text, out, |byte| match byte {
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'&' => Some(b"&amp;"),
        b'\'' => Some(b"&apos;"),
        b'"' => Some(b"&quot;"),
        // Bare ones would be read as spaces.
        b'\t' => Some(b"&#x9;"),
        b'\n' => Some(b"&#xA;"),
        b'\r' => Some(b"&#xD;"),
        _ => None,
    });
}

fn escape(text: &str, out: &mut Vec<u8>, replace: impl Fn(u8) -> Option<&'static [u8]>) {
    let mut rest = text.as_bytes();
    let found = |rest: &[u8]| rest.iter().position(|byte| replace(*byte).is_some());
    while let Some((before, [byte, after @ ..])) = found(rest).map(|at| rest.split_at(at)) {
        out.extend_from_slice(before);
        out.extend_from_slice(replace(*byte).unwrap_or_default());
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// The text that the value of an attribute means: line ends and tabs that
/// stand there bare are spaces (XML 1.0 §3.3.3).
pub fn attribute_value(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r')) {
        return unescape(raw);
    }
    let spaced = raw.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ");
    Cow::Owned(unescape(&spaced).into_owned())
}

/// The text that a value of the gate means. What is no reference stays as it
/// is; the gate lets none through.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'&', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, reference)) = rest.split_once('&') {
        text.push_str(before);
        match reference.split_once(';').and_then(|(name, after)| Some((meaning(name)?, after))) {
            Some((c, after)) => {
                text.push(c);
                rest = after;
            }
            None => {
                text.push('&');
                rest = reference;
            }
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

fn meaning(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => character_of(name.strip_prefix('#')?.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_it_was() {
        for text in ["", "plain", "<&>'\"", "a\r\n\tb", "]]>", "é\u{1F600}&amp;"] {
            let mut out = Vec::new();
            escape_attribute(text, &mut out);
            assert_eq!(unescape(std::str::from_utf8(&out).expect("UTF-8")), text);
            let mut out = Vec::new();
            escape_text(text, &mut out);
            assert_eq!(unescape(std::str::from_utf8(&out).expect("UTF-8")), text);
        }
    }

    #[test]
    fn references_mean_characters() {
        assert_eq!(unescape("a&#x41;&#66;&lt;"), "aAB<");
        assert_eq!(unescape("&unknown; & &#0;"), "&unknown; & &#0;");
    }
}
