//! One whole tag, from `<` to `>`: its name and its attributes.
//!
//! What prefixes mean is not known here; see `namespaces`.

use crate::xml::characters::{self, Step, is_name, is_name_start, is_space};
use crate::xml::error::XmlError;
use crate::xml::head::Span;

/// A name as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QName {
    /// Prefix, colon and local name.
    pub whole: Span,
    /// The prefix; empty where there is none.
    pub prefix: Span,
    /// What follows the prefix.
    pub local: Span,
}

/// What kind of tag it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `<a>`
    Start,
    /// `<a/>`
    Empty,
    /// `</a>`
    End,
}

/// A cursor over the bytes of an element, standing in a tag.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Finds the `>` that ends a tag, wherever the bytes were cut. A `>` within
/// quotes ends nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndOfTag {
    quote: Option<u8>,
    searched: usize,
}

/// Whether a tag can begin with `<` and this byte.
pub fn may_follow(byte: u8) -> bool {
    byte == b'/' || !byte.is_ascii() || is_name_start(char::from(byte))
}

impl EndOfTag {
    /// The length of the tag that `bytes` start with, or `None` until more of
    /// them are there. Each byte is looked at once.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(rest) = bytes.get(self.searched..).filter(|rest| !rest.is_empty()) {
            let found = match self.quote {
                Some(quote) => memchr::memchr(quote, rest),
                None => memchr::memchr3(b'>', b'"', b'\'', rest),
            };
            let Some(found) = found else {
                self.searched = bytes.len();
                return None;
            };
            self.searched += found + 1;
            match (self.quote, rest.get(found)) {
                (Some(_), _) => self.quote = None,
                (None, Some(b'>')) => return Some(self.searched),
                (None, quote) => self.quote = quote.copied(),
            }
        }
        None
    }

    /// The same for the `]]>` that ends character data, which begins at
    /// `start`.
    pub fn find_data_end(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let from = self.searched.max(start);
        let found = bytes.get(from..).and_then(|rest| memchr::memmem::find(rest, b"]]>"));
        // The last two bytes may be the beginning of the end.
        self.searched = bytes.len().saturating_sub(2);
        found.map(|found| from + found + 3)
    }
}

impl<'a> Reader<'a> {
    /// Stands on the `<` at `start`.
    pub fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, at: start }
    }

    /// Reads `<name` or `</name`.
    ///
    /// # Errors
    /// [`XmlError::NotWellFormed`].
    pub fn open(&mut self) -> Result<(Kind, QName), XmlError> {
        self.expect(b'<')?;
        let kind = if self.peek() == Some(b'/') {
            self.at += 1;
            Kind::End
        } else {
            Kind::Start
        };
        Ok((kind, self.qname()?))
    }

    /// Reads the rest of an end tag.
    ///
    /// # Errors
    /// [`XmlError::NotWellFormed`].
    pub fn close(&mut self) -> Result<(), XmlError> {
        self.spaces();
        self.expect(b'>')
    }

    /// Reads the next attribute, or the end of the tag.
    ///
    /// # Errors
    /// What is wrong with the attribute.
    pub fn attribute(&mut self) -> Result<Next, XmlError> {
        let spaces = self.spaces();
        match self.peek() {
            Some(b'>') => {
                self.at += 1;
                Ok(Next::End(Kind::Start))
            }
            Some(b'/') => {
                self.at += 1;
                self.expect(b'>')?;
                Ok(Next::End(Kind::Empty))
            }
            _ if spaces == 0 => Err(XmlError::NotWellFormed),
            _ => {
                let name = self.qname()?;
                self.spaces();
                self.expect(b'=')?;
                self.spaces();
                Ok(Next::Attribute(name, self.value()?))
            }
        }
    }

    /// Where the cursor stands.
    pub fn at(&self) -> usize {
        self.at
    }

    fn value(&mut self) -> Result<Span, XmlError> {
        let quote = self.peek().filter(|byte| matches!(byte, b'"' | b'\''));
        let quote = quote.ok_or(XmlError::NotWellFormed)?;
        self.at += 1;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += characters::plain_run_until(rest, quote);
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let step = match rest.first() {
                Some(byte) if *byte == quote => break,
                Some(b']') => Step::Character(1),
                Some(b'&') => characters::reference(rest)?,
                Some(0x80..) => characters::wide(rest)?,
                _ => return Err(XmlError::NotWellFormed),
            };
            match step {
                Step::Character(length) => self.at += length,
                Step::Cut => return Err(XmlError::NotWellFormed),
            }
        }
        let span = Span::new(start..self.at);
        self.at += 1;
        Ok(span)
    }

    fn qname(&mut self) -> Result<QName, XmlError> {
        let start = self.at;
        let first = self.ncname()?;
        if self.peek() != Some(b':') {
            let prefix = Span::new(start..start);
            return Ok(QName { whole: first, prefix, local: first });
        }
        self.at += 1;
        let local = self.ncname()?;
        Ok(QName { whole: Span::new(start..self.at), prefix: first, local })
    }

    fn ncname(&mut self) -> Result<Span, XmlError> {
        let start = self.at;
        while let Some((c, length)) = self.character()? {
            let fits = if self.at == start { is_name_start(c) } else { is_name(c) };
            if !fits {
                break;
            }
            self.at += length;
        }
        if self.at == start { Err(XmlError::NotWellFormed) } else { Ok(Span::new(start..self.at)) }
    }

    /// The character under the cursor.
    fn character(&self) -> Result<Option<(char, usize)>, XmlError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.first() {
            None => Ok(None),
            Some(byte) if byte.is_ascii() => Ok(Some((char::from(*byte), 1))),
            Some(_) => match characters::wide(rest)? {
                Step::Cut => Err(XmlError::NotWellFormed),
                Step::Character(length) => {
                    let text = rest.get(..length).and_then(|text| std::str::from_utf8(text).ok());
                    Ok(text.and_then(|text| text.chars().next()).map(|c| (c, length)))
                }
            },
        }
    }

    fn spaces(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        self.at - start
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), XmlError> {
        if self.peek() != Some(byte) {
            return Err(XmlError::NotWellFormed);
        }
        self.at += 1;
        Ok(())
    }
}

/// What stands next in a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// An attribute with its raw value.
    Attribute(QName, Span),
    /// The `>` or `/>`.
    End(Kind),
}
