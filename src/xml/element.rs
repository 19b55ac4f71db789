//! A small tree of what the server itself reads and writes: negotiation,
//! requests to itself, presence.
//!
//! quick-xml reads it, always behind the gate, which bounds its size and its
//! depth; what is only passed on is never made a tree.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use crate::xml::escape::{attribute_value, escape_attribute, escape_text, unescape};

/// An element with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The local name.
    pub name: String,
    /// The namespace.
    pub ns: String,
    attributes: Vec<(String, String)>,
    children: Vec<Node>,
}

/// What an element holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Another element.
    Element(Element),
    /// Text, references resolved.
    Text(String),
}

/// Not one whole element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one whole element")]
pub struct NotAnElement;

impl Element {
    /// An empty element.
    pub fn new(name: &str, ns: &str) -> Self {
        Self { name: name.into(), ns: ns.into(), attributes: Vec::new(), children: Vec::new() }
    }

    /// Reads one element; `default_ns` is the namespace of names without a
    /// prefix outside of it.
    ///
    /// # Errors
    /// [`NotAnElement`]: nothing that the gate has let through.
    pub fn parse(bytes: &[u8], default_ns: &str) -> Result<Self, NotAnElement> {
        Self::parse_all(bytes, default_ns)?.into_iter().next().ok_or(NotAnElement)
    }

    /// Reads all elements of a payload, leaving out text between them.
    ///
    /// # Errors
    /// [`NotAnElement`].
    pub fn parse_all(bytes: &[u8], default_ns: &str) -> Result<Vec<Self>, NotAnElement> {
        let mut reader = NsReader::from_str(std::str::from_utf8(bytes).map_err(|_| NotAnElement)?);
        let mut outside = Self::new("", "");
        let mut open: Vec<Self> = Vec::new();
        loop {
            let (ns, event) = reader.read_resolved_event().map_err(|_| NotAnElement)?;
            let ns = match ns {
                ResolveResult::Bound(ns) => attribute_value(ns.0).into_owned(),
                ResolveResult::Unbound => default_ns.to_owned(),
                ResolveResult::Unknown(_) => return Err(NotAnElement),
            };
            match event {
                Event::Start(tag) => open.push(Self::of(&tag, ns)?),
                Event::Empty(tag) => {
                    let element = Self::of(&tag, ns)?;
                    open.last_mut().unwrap_or(&mut outside).children.push(Node::Element(element));
                }
                Event::End(_) => {
                    let element = open.pop().ok_or(NotAnElement)?;
                    open.last_mut().unwrap_or(&mut outside).children.push(Node::Element(element));
                }
                Event::Text(text) => push_text(&mut open, &text),
                Event::CData(text) => push_text(&mut open, &text),
                Event::GeneralRef(name) => {
                    let reference = format!("&{};", &*name);
                    push_text(&mut open, &unescape(&reference));
                }
                Event::Eof if open.is_empty() => break,
                _ => return Err(NotAnElement),
            }
        }
        Ok(outside.into_elements().collect())
    }

    /// The same element with an attribute more.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// The same element with a child more.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// The same element with text more.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    /// Whether this is the element `name` of `ns`.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The elements right under it.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first element of this name right under it.
    pub fn find(&self, name: &str, ns: &str) -> Option<&Self> {
        self.elements().find(|element| element.is(name, ns))
    }

    /// The text right under it, in one piece.
    pub fn own_text(&self) -> String {
        let texts = self.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.collect()
    }

    /// Writes it where names without a prefix are of `outer_ns`.
    pub fn write(&self, outer_ns: &str, out: &mut Vec<u8>) {
        out.push(b'<');
        out.extend_from_slice(self.name.as_bytes());
        if self.ns != outer_ns {
            write_attribute("xmlns", &self.ns, out);
        }
        for (name, value) in &self.attributes {
            write_attribute(name, value, out);
        }
        if self.children.is_empty() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(&self.ns, out),
                Node::Text(text) => escape_text(text, out),
            }
        }
        out.extend_from_slice(b"</");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'>');
    }

    /// The element as bytes, where names without a prefix are of `outer_ns`.
    pub fn to_bytes(&self, outer_ns: &str) -> bytes::Bytes {
        let mut out = Vec::new();
        self.write(outer_ns, &mut out);
        out.into()
    }

    fn of(tag: &BytesStart<'_>, ns: String) -> Result<Self, NotAnElement> {
        let mut element = Self::new(tag.local_name().as_ref(), "");
        element.ns = ns;
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|_| NotAnElement)?;
            let name = attribute.key.as_ref();
            if name != "xmlns" && !name.starts_with("xmlns:") {
                let value = attribute_value(&attribute.value).into_owned();
                element.attributes.push((name.to_owned(), value));
            }
        }
        Ok(element)
    }

    /// The elements right under it, and nothing else of it.
    pub fn into_elements(self) -> impl Iterator<Item = Self> {
        self.children.into_iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }
}

fn write_attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attribute(value, out);
    out.push(b'\'');
}

/// Text outside of all elements is left out.
fn push_text(open: &mut [Element], text: &str) {
    let Some(element) = open.last_mut() else {
        return;
    };
    match element.children.last_mut() {
        Some(Node::Text(before)) => before.push_str(text),
        _ => element.children.push(Node::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        let text = "<a xmlns:p='v' k='&lt;&apos;'><p:b x='1'>t &amp; u<![CDATA[<]]></p:b><c/></a>";
        let element = Element::parse(text.as_bytes(), "u").expect("one element");
        assert!(element.is("a", "u"));
        assert_eq!(element.attribute("k"), Some("<'"));
        let b = element.find("b", "v").expect("b");
        assert_eq!((b.attribute("x"), b.own_text().as_str()), (Some("1"), "t & u<"));
        let written = element.to_bytes("u");
        assert_eq!(
            String::from_utf8_lossy(&written),
            "<a k='&lt;&apos;'><b xmlns='v' x='1'>t &amp; u&lt;</b><c/></a>"
        );
        let again = Element::parse(&written, "u").expect("one element");
        assert_eq!(again, element);
    }

    #[test]
    fn half_an_element_is_none() {
        for text in ["", "<a>", "</a>", "<a></b>", "<p:a/>", "text"] {
            assert_eq!(Element::parse(text.as_bytes(), "u"), Err(NotAnElement), "{text}");
        }
    }
}
