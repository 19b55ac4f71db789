//! What is known of an element without reading it whole: its name, its
//! attributes, its first child. All as places in its bytes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::xml::escape::attribute_value;

/// A place in the bytes of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From byte to byte. Elements are bounded far below 4 GiB.
    pub fn new(range: Range<usize>) -> Self {
        let small = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: small(range.start), end: small(range.end) }
    }

    /// The place as a range.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The text there; the gate has checked that it is UTF-8.
    pub fn of(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.bytes(bytes)).unwrap_or_default()
    }

    /// The bytes there: enough to compare.
    pub fn bytes(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }
}

/// A namespace: the stream's default one, one declared within the element, or
/// one that the stream header declared for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ns {
    /// The stream's default namespace.
    Inherited,
    /// The raw value of a declaration within the element.
    Declared(Span),
    /// `http://etherx.jabber.org/streams`, by the header's prefix.
    Stream,
    /// `jabber:server:dialback`, by the header's prefix.
    Dialback,
    /// `xml:`, bound without a declaration.
    Xml,
}

/// One attribute as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// Prefix and all.
    pub name: Span,
    /// Without its quotes, references not resolved.
    pub value: Span,
}

/// What the tag of a first-level element and the one after it say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The local name.
    pub name: Span,
    /// Whether the name has a prefix.
    pub is_prefixed: bool,
    /// The namespace.
    pub ns: Ns,
    /// Attributes and namespace declarations, in order.
    pub attributes: SmallVec<[Attribute; 6]>,
    /// Everything between the tags.
    pub content: Span,
    /// Local name and namespace of the first child element.
    pub child: Option<(Span, Ns)>,
    /// Child elements.
    pub children: u32,
    /// Whether there is other text than white space right under it.
    pub has_text: bool,
}

/// One whole first-level element.
///
/// Its bytes mean the same anywhere under the same default namespace: no
/// prefix in it comes from outside, but for the element's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// From `<` to `>`.
    pub bytes: Bytes,
    /// What is known of them.
    pub head: Head,
}

/// The opening of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The root's local name; `stream` if all is well.
    pub name: String,
    /// The root's namespace.
    pub ns: String,
    /// The default namespace for stanzas.
    pub default_ns: String,
    /// `to`, references resolved, as all of these.
    pub to: Option<String>,
    /// `from`.
    pub from: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `version`.
    pub version: Option<String>,
    /// `xml:lang`.
    pub lang: Option<String>,
}

impl Raw {
    /// The local name.
    pub fn name(&self) -> &str {
        self.head.name.of(&self.bytes)
    }

    /// The namespace, where the stream's default one is `default`.
    pub fn ns<'a>(&'a self, default: &'a str) -> Cow<'a, str> {
        self.resolve(self.head.ns, default)
    }

    /// Whether this is the element `name` of namespace `ns`.
    pub fn is(&self, name: &str, ns: &str, default: &str) -> bool {
        self.name() == name && self.ns(default) == ns
    }

    /// The value of an attribute by its name as written, references resolved.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.attributes_but(|other| other != name.as_bytes()).next();
        found.map(|(_, value)| attribute_value(value))
    }

    /// As [`Raw::attributes`], without those whose names are passed over.
    pub fn attributes_but(
        &self,
        is_passed: impl Fn(&[u8]) -> bool,
    ) -> impl Iterator<Item = (&str, &str)> {
        let attributes = self.head.attributes.iter();
        let others = attributes.filter(move |one| !is_passed(one.name.bytes(&self.bytes)));
        others.map(|one| (one.name.of(&self.bytes), one.value.of(&self.bytes)))
    }

    /// Names and raw values of all attributes and declarations, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let attributes = self.head.attributes.iter();
        attributes.map(|one| (one.name.of(&self.bytes), one.value.of(&self.bytes)))
    }

    /// Everything between the tags, without a copy.
    pub fn content(&self) -> Bytes {
        self.bytes.slice(self.head.content.range())
    }

    /// Local name and namespace of the first child element.
    pub fn child<'a>(&'a self, default: &'a str) -> Option<(&'a str, Cow<'a, str>)> {
        let (name, ns) = self.head.child?;
        Some((name.of(&self.bytes), self.resolve(ns, default)))
    }

    fn resolve<'a>(&'a self, ns: Ns, default: &'a str) -> Cow<'a, str> {
        match ns {
            Ns::Inherited => Cow::Borrowed(default),
            Ns::Declared(span) => attribute_value(span.of(&self.bytes)),
            Ns::Stream => Cow::Borrowed("http://etherx.jabber.org/streams"),
            Ns::Dialback => Cow::Borrowed("jabber:server:dialback"),
            Ns::Xml => Cow::Borrowed("http://www.w3.org/XML/1998/namespace"),
        }
    }
}
