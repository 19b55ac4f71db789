//! What prefixes mean at each place of an element.

use crate::xml::error::XmlError;
use crate::xml::escape::attribute_value;
use crate::xml::head::{Ns, Span};
use crate::xml::tag::QName;

const XML_URI: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_URI: &str = "http://www.w3.org/2000/xmlns/";

/// One declaration in force.
#[derive(Debug, Clone, Copy)]
struct Declaration {
    /// Empty for the default namespace.
    prefix: Span,
    uri: Span,
}

/// The declarations in force, outermost first. Kept between stanzas for its
/// memory only.
#[derive(Debug, Default)]
pub struct Scope {
    declarations: Vec<Declaration>,
}

impl Scope {
    /// How many declarations are in force: the mark to go back to.
    pub fn mark(&self) -> usize {
        self.declarations.len()
    }

    /// Forgets what was declared after `mark`.
    pub fn back(&mut self, mark: usize) {
        self.declarations.truncate(mark);
    }

    /// Takes `xmlns='…'` or `xmlns:prefix='…'`; says whether it was one.
    ///
    /// # Errors
    /// [`XmlError::NotWellFormed`] for what the namespaces' RFC forbids:
    /// rebinding `xml` or `xmlns`, or a prefix for nothing.
    pub fn declare(&mut self, name: QName, uri: Span, bytes: &[u8]) -> Result<bool, XmlError> {
        let prefix = if name.prefix.range().is_empty() {
            if name.local.of(bytes) != "xmlns" {
                return Ok(false);
            }
            name.prefix
        } else {
            if name.prefix.of(bytes) != "xmlns" {
                return Ok(false);
            }
            name.local
        };
        let means = attribute_value(uri.of(bytes));
        let allowed = match prefix.of(bytes) {
            "" => means != XML_URI && means != XMLNS_URI,
            "xml" => means == XML_URI,
            "xmlns" => false,
            _ => !means.is_empty() && means != XML_URI && means != XMLNS_URI,
        };
        if !allowed {
            return Err(XmlError::NotWellFormed);
        }
        self.declarations.push(Declaration { prefix, uri });
        Ok(true)
    }

    /// What an element's prefix means, if that is declared within the stanza.
    pub fn of_element(&self, name: QName, bytes: &[u8]) -> Option<Ns> {
        let prefix = name.prefix.of(bytes);
        match self.find(prefix, bytes) {
            Some(uri) => Some(Ns::Declared(uri)),
            None if prefix.is_empty() => Some(Ns::Inherited),
            None if prefix == "xml" => Some(Ns::Xml),
            None => None,
        }
    }

    /// What an attribute's prefix means: a URI, or nothing for no prefix.
    ///
    /// # Errors
    /// [`XmlError::NotWellFormed`] for a prefix that means nothing.
    pub fn of_attribute<'a>(&self, name: QName, bytes: &'a [u8]) -> Result<&'a str, XmlError> {
        let prefix = name.prefix.of(bytes);
        match self.find(prefix, bytes) {
            _ if prefix.is_empty() => Ok(""),
            Some(uri) => Ok(uri.of(bytes)),
            None if prefix == "xml" => Ok(XML_URI),
            None => Err(XmlError::NotWellFormed),
        }
    }

    fn find(&self, prefix: &str, bytes: &[u8]) -> Option<Span> {
        let innermost_first = self.declarations.iter().rev();
        innermost_first.into_iter().find(|one| one.prefix.of(bytes) == prefix).map(|one| one.uri)
    }
}
