//! Cuts a stream into its header, its stanzas and its end, and lets nothing
//! pass that RFC 6120 §11 forbids.
//!
//! It reads on where it stopped when more bytes come, looks at text once and
//! at tags twice, copies nothing, and keeps no memory that grows with the
//! stream. What is inside an element is read by `assembly`; what it means is
//! not its business.

use bytes::{Buf, BytesMut};

use crate::xml::assembly::{Assembly, Found};
use crate::xml::characters::is_space;
use crate::xml::error::XmlError;
use crate::xml::head::{Header, Raw};
use crate::xml::header;
use crate::xml::limits::Limits;
use crate::xml::tag::{self, EndOfTag, Kind, Reader};

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
    /// The first-level element that is being read.
    assembly: Assembly,
    /// How far the tag of the stream itself was looked for.
    tag: EndOfTag,
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

impl Framer {
    /// A gate before a stream of which nothing was read.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start,
            assembly: Assembly::default(),
            tag: EndOfTag::default(),
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
        if self.assembly.is_empty() {
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
            let found = self.assembly.step(buffer, &self.limits, &self.root)?;
            match found {
                Found::Part => self.within(self.assembly.length())?,
                Found::Nothing => return self.wait(buffer),
                Found::Whole => {
                    self.within(self.assembly.length())?;
                    return Ok(self.assembly.cut(buffer).map(Frame::Element));
                }
            }
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
