//! Cuts a stream into its header, its stanzas and its end, and lets nothing
//! pass that RFC 6120 §11 forbids.
//!
//! It reads on where it stopped when more bytes come, looks at text once and
//! at tags twice, copies nothing, and keeps no memory that grows with the
//! stream. What elements mean is not its business.

use bytes::{Buf, BytesMut};
use smallvec::SmallVec;

use crate::xml::characters::{self, Step, is_space};
use crate::xml::error::XmlError;
use crate::xml::head::{Attribute, Head, Header, Ns, Raw, Span};
use crate::xml::header;
use crate::xml::limits::Limits;
use crate::xml::namespaces::Scope;
use crate::xml::tag::{self, EndOfTag, Kind, Next, QName, Reader};

/// One piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The stream opens.
    Open(Box<Header>),
    /// A whole first-level element.
    Element(Raw),
    /// The stream ends.
    Close,
}

/// The state of the gate of one stream.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    state: State,
    /// Elements that are open, the first-level one first.
    open: Vec<Open>,
    scope: Scope,
    /// Bytes of the current element that were understood.
    done: usize,
    tag: EndOfTag,
    head: Option<Head>,
    elements: u32,
    root: header::Root,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was read yet.
    Start,
    /// After the XML declaration.
    Prolog,
    /// Between the header and the end.
    Stream,
    /// After `<stream:stream/>`: the end comes without further bytes.
    Ending,
    /// After the end: whatever comes is not read.
    Ended,
    /// After an error.
    Broken(XmlError),
}

/// An element whose end tag is missing yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    name: Span,
    mark: usize,
}

/// What a step found.
enum Found {
    /// More bytes are needed.
    Nothing,
    /// Part of an element.
    Part,
    /// The end of a first-level element.
    Whole,
}

impl Framer {
    /// A gate before a stream of which nothing was read.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start,
            open: Vec::new(),
            scope: Scope::default(),
            done: 0,
            tag: EndOfTag::default(),
            head: None,
            elements: 0,
            root: header::Root::default(),
        }
    }

    /// A gate that stands in a stream already: it expects elements.
    pub fn inside(limits: Limits) -> Self {
        Self { state: State::Stream, ..Self::new(limits) }
    }

    /// Other bounds from the next element on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Expects a header again (RFC 6120 §4.3.3). Bytes that were read before
    /// and not understood are the caller's to keep or to throw away.
    pub fn restart(&mut self) {
        *self = Self::new(self.limits);
    }

    /// The next whole piece of the stream, taken from `buffer`, or `None`
    /// until more bytes are there.
    ///
    /// # Errors
    /// [`XmlError`], and the same at every later call.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, XmlError> {
        let found = match self.state {
            State::Broken(error) => return Err(error),
            State::Ended => {
                buffer.clear();
                return Ok(None);
            }
            State::Ending => {
                self.state = State::Ended;
                return Ok(Some(Frame::Close));
            }
            State::Start | State::Prolog => self.opening(buffer),
            State::Stream => self.element(buffer),
        };
        found.inspect_err(|error| self.state = State::Broken(*error))
    }

    fn opening(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, XmlError> {
        if self.state == State::Start {
            match header::declaration(buffer)? {
                header::Prolog::Cut if buffer.len() > self.limits.stanza_bytes_max => {
                    return Err(XmlError::TooLarge);
                }
                header::Prolog::Cut => return Ok(None),
                header::Prolog::Ends(length) => buffer.advance(length),
            }
            self.state = State::Prolog;
        }
        self.skip_spaces(buffer);
        match (buffer.first(), buffer.get(1)) {
            (None, _) | (Some(b'<'), None) => return Ok(None),
            (Some(b'<'), Some(b'!' | b'?')) => return Err(XmlError::Restricted),
            (Some(b'<'), Some(next)) if tag::may_follow(*next) => {}
            (Some(_), _) => return Err(XmlError::NotWellFormed),
        }
        let Some(length) = self.tag.find(buffer) else {
            return self.wait(buffer);
        };
        self.within(length)?;
        self.tag = EndOfTag::default();
        let tag = buffer.split_to(length);
        let (header, root, kind) = header::read(&tag, &self.limits)?;
        self.root = root;
        self.state = if kind == Kind::Empty { State::Ending } else { State::Stream };
        Ok(Some(Frame::Open(Box::new(header))))
    }

    fn element(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, XmlError> {
        if self.open.is_empty() && self.done == 0 {
            self.skip_spaces(buffer);
            match buffer.first() {
                None => return Ok(None),
                Some(b'<') => {}
                Some(_) => return Err(XmlError::TextBetweenStanzas),
            }
            if buffer.starts_with(b"</") {
                return self.end(buffer);
            }
        }
        loop {
            match self.step(buffer)? {
                Found::Part => self.within(self.done)?,
                Found::Nothing => return self.wait(buffer),
                Found::Whole => {
                    self.within(self.done)?;
                    return Ok(self.cut(buffer).map(Frame::Element));
                }
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Found, XmlError> {
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
                    self.one_tag(bytes)
                }
            },
            (Some(_), _) => self.text(rest),
        }
    }

    fn one_tag(&mut self, bytes: &[u8]) -> Result<Found, XmlError> {
        let start = self.done;
        let mut reader = Reader::new(bytes, start);
        let (kind, name) = reader.open()?;
        if kind == Kind::End {
            reader.close()?;
            self.done = reader.at();
            return self.end_tag(name, start, bytes);
        }
        let mark = self.scope.mark();
        let (attributes, kind) = self.attributes(&mut reader, bytes)?;
        self.done = reader.at();
        let ns = self.namespace(name, bytes)?;
        self.elements = self.elements.saturating_add(1);
        if self.elements > self.limits.elements_max {
            return Err(XmlError::TooManyElements);
        }
        if self.open.len() >= usize::from(self.limits.depth_max) {
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
        if open.name.of(bytes) != name.whole.of(bytes) {
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
                    if plain > self.limits.attributes_max {
                        return Err(XmlError::TooManyAttributes);
                    }
                    if declared > self.limits.namespaces_max {
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
    fn namespace(&self, name: QName, bytes: &[u8]) -> Result<Ns, XmlError> {
        match self.scope.of_element(name, bytes) {
            Some(ns) => Ok(ns),
            None if self.open.is_empty() => {
                self.root.meaning(name.prefix.of(bytes)).ok_or(XmlError::NotWellFormed)
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

    /// `</stream:stream>`.
    fn end(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, XmlError> {
        let Some(length) = self.tag.find(buffer) else {
            return self.wait(buffer);
        };
        self.tag = EndOfTag::default();
        let tag = buffer.split_to(length);
        let mut reader = Reader::new(&tag, 0);
        let (_, name) = reader.open()?;
        reader.close()?;
        if name.whole.of(&tag) != self.root.name() {
            return Err(XmlError::NotWellFormed);
        }
        self.state = State::Ended;
        Ok(Some(Frame::Close))
    }

    fn cut(&mut self, buffer: &mut BytesMut) -> Option<Raw> {
        let bytes = buffer.split_to(self.done).freeze();
        self.done = 0;
        self.elements = 0;
        self.scope.back(0);
        self.head.take().map(|head| Raw { bytes, head })
    }

    fn skip_spaces(&self, buffer: &mut BytesMut) {
        let spaces = buffer.iter().take_while(|byte| is_space(**byte)).count();
        buffer.advance(spaces);
    }

    /// More bytes are needed, unless there are too many already.
    fn wait(&self, buffer: &BytesMut) -> Result<Option<Frame>, XmlError> {
        self.within(buffer.len()).map(|()| None)
    }

    fn within(&self, bytes: usize) -> Result<(), XmlError> {
        if bytes > self.limits.stanza_bytes_max { Err(XmlError::TooLarge) } else { Ok(()) }
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
