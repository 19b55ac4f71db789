//! Stanzas as trees, read by rxml: what is heard, and what a play expects.
//!
//! Whether one is like the other is `likeness`'s business.

use std::collections::BTreeMap;
use std::fmt;

use rxml::{Event, Options, Parse, Parser, WithOptions};

/// The header of a client's stream. Expectations are read as if they came
/// behind it.
pub const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";

/// The longest text or value that is read.
const TOKEN_BYTES_MAX: usize = 1 << 20;

/// Namespace and local name.
pub type Name = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub name: Name,
    pub attributes: BTreeMap<Name, String>,
    pub children: Vec<Tree>,
    /// All its own text. Space between child elements is none.
    pub text: String,
}

/// What comes over a stream, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The stream is open.
    Open,
    /// A stanza, features, or an error.
    Tree(Tree),
    /// The stream was closed in good order.
    Close,
}

/// Cuts a stream into trees.
pub struct Reader {
    parser: Parser,
    open: Vec<Tree>,
}

impl Reader {
    pub fn new() -> Reader {
        let options = Options { max_token_length: TOKEN_BYTES_MAX, ..Options::default() };
        Reader { parser: Parser::with_options(options), open: Vec::new() }
    }

    /// What is whole after these bytes.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<Vec<Item>, String> {
        let mut items = Vec::new();
        loop {
            let event = match self.parser.parse(&mut bytes, false) {
                Ok(Some(event)) => event,
                Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return Ok(items),
                Err(rxml::error::EndOrError::Error(error)) => return Err(error.to_string()),
            };
            match event {
                Event::XmlDeclaration(..) => {}
                Event::StartElement(_, (ns, name), attributes) => {
                    let attributes = attributes.into_iter().map(|((ns, name), value)| {
                        ((ns.as_str().to_owned(), name.to_string()), value)
                    });
                    self.open.push(Tree {
                        name: (ns.as_str().to_owned(), name.to_string()),
                        attributes: attributes.collect(),
                        children: Vec::new(),
                        text: String::new(),
                    });
                    if self.open.len() == 1 {
                        items.push(Item::Open);
                    }
                }
                Event::Text(_, text) => {
                    if let Some(tree) = self.open.last_mut() {
                        tree.text.push_str(&text);
                    }
                }
                Event::EndElement(_) => items.extend(self.end()),
            }
        }
    }

    fn end(&mut self) -> Option<Item> {
        let mut tree = self.open.pop()?;
        if !tree.children.is_empty() && tree.text.trim().is_empty() {
            tree.text.clear();
        }
        match self.open.len() {
            0 => Some(Item::Close),
            1 => Some(Item::Tree(tree)),
            _ => {
                self.open.last_mut()?.children.push(tree);
                None
            }
        }
    }
}

impl Tree {
    /// All stanzas of a text.
    pub fn parse_all(text: &str) -> Result<Vec<Tree>, String> {
        let items = Reader::new().read(format!("{HEADER}{text}</stream:stream>").as_bytes())?;
        let (mut trees, mut is_whole) = (Vec::new(), false);
        for item in items {
            match item {
                Item::Open => {}
                Item::Tree(tree) => trees.push(tree),
                Item::Close => is_whole = true,
            }
        }
        if is_whole { Ok(trees) } else { Err("something is not closed".into()) }
    }

    /// An attribute without a namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(&(String::new(), name.to_owned())).map(String::as_str)
    }

    /// The first child element of this namespace.
    pub fn child(&self, ns: &str) -> Option<&Tree> {
        self.children.iter().find(|child| child.name.0 == ns)
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.1 == name
    }

    fn write(&self, parent: &str, out: &mut String) {
        let (ns, name) = &self.name;
        out.push('<');
        out.push_str(name);
        if ns != parent {
            out.push_str(&format!(" xmlns='{}'", escape(ns)));
        }
        for ((ns, name), value) in &self.attributes {
            let prefix = match ns.as_str() {
                "" => "",
                "http://www.w3.org/XML/1998/namespace" => "xml:",
                _ => "?:",
            };
            out.push_str(&format!(" {prefix}{name}='{}'", escape(value)));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        self.children.iter().for_each(|child| child.write(ns, out));
        out.push_str(&format!("{}</{name}>", escape(&self.text)));
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write("jabber:client", &mut out);
        f.write_str(&out)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

#[test]
fn a_stream_in_pieces_is_the_same_as_in_one() {
    let text = format!("{HEADER}<message to='a@b'><body>x &amp; y</body></message><presence/>");
    let whole = Reader::new().read(text.as_bytes()).expect("XML");
    let mut reader = Reader::new();
    let pieces = text.as_bytes().iter().map(|byte| reader.read(&[*byte]).expect("XML"));
    assert_eq!(pieces.flatten().collect::<Vec<_>>(), whole);
    let Item::Tree(message) = &whole[1] else { panic!("{whole:?}") };
    assert_eq!(message.to_string(), "<message to='a@b'><body>x &amp; y</body></message>");
}

#[test]
fn what_is_no_xml_is_refused() {
    for wrong in ["<a>", "<a></b>", "</a>", "<a b=c/>", "<p:a/>"] {
        assert!(Tree::parse_all(wrong).is_err(), "{wrong}");
    }
}
