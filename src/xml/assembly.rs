//! One first-level element as it comes in, tag by tag and text by text, with
//! all that must hold inside it. Where elements begin, and the stream around
//! them, is the business of `framer`.

use bytes::BytesMut;
use smallvec::SmallVec;

use crate::xml::characters::{self, Step, is_space};
use crate::xml::error::XmlError;
use crate::xml::head::{Attribute, Head, Ns, Raw, Span};
use crate::xml::header::Root;
use crate::xml::limits::Limits;
use crate::xml::namespaces::Scope;
use crate::xml::tag::{self, EndOfTag, Kind, Next, QName, Reader};

/// What has been understood of an element that is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Elements that are open, the first-level one first.
    open: Vec<Open>,
    scope: Scope,
    /// Bytes that were understood.
    done: usize,
    tag: EndOfTag,
    head: Option<Head>,
    elements: u32,
}

/// An element whose end tag is missing yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    name: Span,
    mark: usize,
}

/// What a step found.
pub(super) enum Found {
    /// More bytes are needed.
    Nothing,
    /// Part of an element.
    Part,
    /// The end of a first-level element.
    Whole,
}

impl Assembly {
    /// Whether nothing was read since the last whole element.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.done == 0
    }

    /// Bytes that were understood.
    pub(super) fn length(&self) -> usize {
        self.done
    }

    /// One tag, or one run of text, behind what was understood before.
    ///
    /// # Errors
    /// [`XmlError`]; nothing more of the stream can be read then.
    pub(super) fn step(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        root: &Root,
    ) -> Result<Found, XmlError> {
        let rest = bytes.get(self.done..).unwrap_or_default();
        match (rest.first(), rest.get(1)) {
            (None, _) | (Some(b'<'), None) => Ok(Found::Nothing),
            (Some(b'<'), Some(b'!')) => self.character_data(rest),
            (Some(b'<'), Some(b'?')) => instruction(rest),
            (Some(b'<'), Some(next)) if !tag::may_follow(*next) => Err(XmlError::NotWellFormed),
            (Some(b'<'), Some(_)) => match self.tag.find(rest) {
                None => Ok(Found::Nothing),
                Some(_) => {
                    self.tag = EndOfTag::default();
                    self.one_tag(bytes, limits, root)
                }
            },
            (Some(_), _) => self.text(rest),
        }
    }

    fn one_tag(&mut self, bytes: &[u8], limits: &Limits, root: &Root) -> Result<Found, XmlError> {
        let start = self.done;
        let mut reader = Reader::new(bytes, start);
        let (kind, name) = reader.open()?;
        if kind == Kind::End {
            reader.close()?;
            self.done = reader.at();
            return self.end_tag(name, start, bytes);
        }
        let mark = self.scope.mark();
        let (attributes, kind) = self.attributes(&mut reader, bytes, limits)?;
        self.done = reader.at();
        let ns = self.namespace(name, bytes, root)?;
        self.elements = self.elements.saturating_add(1);
        if self.elements > limits.elements_max {
            return Err(XmlError::TooManyElements);
        }
        if self.open.len() >= usize::from(limits.depth_max) {
            return Err(XmlError::TooDeep);
        }
        match (&mut self.head, self.open.len()) {
            (None, _) => {
                let content = Span::new(self.done..self.done);
                let is_prefixed = name.whole != name.local;
                self.head = Some(Head {
                    name: name.local,
                    is_prefixed,
                    ns,
                    attributes,
                    content,
                    child: None,
                    children: 0,
                    has_text: false,
                });
            }
            (Some(head), 1) => {
                head.child.get_or_insert((name.local, ns));
                head.children = head.children.saturating_add(1);
            }
            _ => {}
        }
        if kind == Kind::Empty {
            self.scope.back(mark);
            return Ok(if self.open.is_empty() { Found::Whole } else { Found::Part });
        }
        self.open.push(Open { name: name.whole, mark });
        Ok(Found::Part)
    }

    fn end_tag(&mut self, name: QName, start: usize, bytes: &[u8]) -> Result<Found, XmlError> {
        let open = self.open.pop().ok_or(XmlError::NotWellFormed)?;
        if open.name.bytes(bytes) != name.whole.bytes(bytes) {
            return Err(XmlError::NotWellFormed);
        }
        self.scope.back(open.mark);
        if !self.open.is_empty() {
            return Ok(Found::Part);
        }
        if let Some(head) = &mut self.head {
            head.content = Span::new(head.content.range().start..start);
        }
        Ok(Found::Whole)
    }

    /// Attributes and declarations of one tag, each name once.
    fn attributes(
        &mut self,
        reader: &mut Reader<'_>,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<(SmallVec<[Attribute; 6]>, Kind), XmlError> {
        let mut attributes = SmallVec::new();
        let mut prefixed: SmallVec<[QName; 4]> = SmallVec::new();
        let (mut plain, mut declared) = (0u16, 0u16);
        let kind = loop {
            match reader.attribute()? {
                Next::End(kind) => break kind,
                Next::Attribute(name, value) => {
                    if self.scope.declare(name, value, bytes)? {
                        declared += 1;
                    } else {
                        plain += 1;
                        if name.whole != name.local {
                            prefixed.push(name);
                        }
                    }
                    if plain > limits.attributes_max {
                        return Err(XmlError::TooManyAttributes);
                    }
                    if declared > limits.namespaces_max {
                        return Err(XmlError::TooManyNamespaces);
                    }
                    let twin = |one: &Attribute| one.name.of(bytes) == name.whole.of(bytes);
                    if attributes.iter().any(twin) {
                        return Err(XmlError::NotWellFormed);
                    }
                    attributes.push(Attribute { name: name.whole, value });
                }
            }
        };
        for (index, name) in prefixed.iter().enumerate() {
            let ns = self.scope.of_attribute(*name, bytes)?;
            for other in prefixed.iter().take(index) {
                let same_name = other.local.of(bytes) == name.local.of(bytes);
                if same_name && self.scope.of_attribute(*other, bytes)? == ns {
                    return Err(XmlError::NotWellFormed);
                }
            }
        }
        Ok((attributes, kind))
    }

    /// The header's prefixes are good for the names of first-level elements
    /// only, so that a stanza means the same on every other stream.
    fn namespace(&self, name: QName, bytes: &[u8], root: &Root) -> Result<Ns, XmlError> {
        match self.scope.of_element(name, bytes) {
            Some(ns) => Ok(ns),
            None if self.open.is_empty() => {
                root.meaning(name.prefix.of(bytes)).ok_or(XmlError::NotWellFormed)
            }
            None => Err(XmlError::NotWellFormed),
        }
    }

    fn text(&mut self, rest: &[u8]) -> Result<Found, XmlError> {
        let mut at = 0;
        loop {
            at += characters::plain_run(rest.get(at..).unwrap_or_default());
            let here = rest.get(at..).unwrap_or_default();
            let step = match here {
                [] | [b'<', ..] => break,
                [b']', b']', b'>', ..] => return Err(XmlError::NotWellFormed),
                [b']'] | [b']', b']'] => Step::Cut,
                [b']', ..] => Step::Character(1),
                [b'&', ..] => characters::reference(here)?,
                [byte, ..] if !byte.is_ascii() => characters::wide(here)?,
                _ => return Err(XmlError::NotWellFormed),
            };
            match step {
                Step::Character(length) => at += length,
                Step::Cut => break,
            }
        }
        if at == 0 {
            return Ok(Found::Nothing);
        }
        self.note_text(rest.get(..at).unwrap_or_default());
        self.done += at;
        Ok(Found::Part)
    }

    /// `<![CDATA[…]]>`; everything else that begins so is forbidden.
    fn character_data(&mut self, rest: &[u8]) -> Result<Found, XmlError> {
        const OPENING: &[u8] = b"<![CDATA[";
        let seen = rest.len().min(OPENING.len());
        if rest.get(..seen) != OPENING.get(..seen) {
            return Err(XmlError::Restricted);
        }
        if rest.len() < OPENING.len() {
            return Ok(Found::Nothing);
        }
        if self.open.is_empty() {
            return Err(XmlError::TextBetweenStanzas);
        }
        let Some(length) = self.tag.find_data_end(rest, OPENING.len()) else {
            return Ok(Found::Nothing);
        };
        self.tag = EndOfTag::default();
        let data = rest.get(OPENING.len()..length - 3).unwrap_or_default();
        let text = std::str::from_utf8(data).map_err(|_| XmlError::NotWellFormed)?;
        if !text.chars().all(characters::is_character) {
            return Err(XmlError::NotWellFormed);
        }
        self.note_text(data);
        self.done += length;
        Ok(Found::Part)
    }

    fn note_text(&mut self, text: &[u8]) {
        if let (Some(head), 1) = (&mut self.head, self.open.len()) {
            head.has_text |= text.iter().any(|byte| !is_space(*byte));
        }
    }

    /// Takes the whole element out of the buffer, and is ready for the next.
    pub(super) fn cut(&mut self, buffer: &mut BytesMut) -> Option<Raw> {
        let bytes = buffer.split_to(self.done).freeze();
        self.done = 0;
        self.elements = 0;
        self.scope.back(0);
        self.head.take().map(|head| Raw { bytes, head })
    }
}

/// `<?…`: an XML declaration in the wrong place, or what is forbidden in any.
fn instruction(rest: &[u8]) -> Result<Found, XmlError> {
    const DECLARATION: &[u8] = b"<?xml";
    let seen = rest.len().min(DECLARATION.len());
    match rest.get(..seen) == DECLARATION.get(..seen) {
        false => Err(XmlError::Restricted),
        true if seen < DECLARATION.len() => Ok(Found::Nothing),
        true => Err(XmlError::NotWellFormed),
    }
}
