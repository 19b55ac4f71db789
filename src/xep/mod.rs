//! Extensions: one file each, one line in the list.

pub mod disco;
pub mod last;
pub mod ping;
pub mod register;
pub mod time;
pub mod version;

use crate::extension::Extension;

/// All extensions, in the order in which they are asked.
pub fn all() -> Vec<Box<dyn Extension>> {
    vec![
        Box::new(ping::Ping),
        Box::new(disco::Disco),
        Box::new(version::Version),
        Box::new(time::Time),
        Box::new(last::Last),
    ]
}

/// The payload of a result, of an element that knows how to write itself.
fn payload(element: impl Into<xmpp_parsers::minidom::Element>) -> bytes::Bytes {
    let mut out = Vec::new();
    let element: xmpp_parsers::minidom::Element = element.into();
    element.write_to(&mut out).expect("memory takes all that is written to it");
    out.into()
}
