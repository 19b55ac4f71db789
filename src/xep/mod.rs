//! Extensions: one file each, one line in the list.

pub mod carbons;
pub mod config;
pub mod disco;
pub mod elsewhere;
pub mod last;
pub mod offline;
pub mod ping;
pub mod time;
pub mod version;

use crate::extension::Extension;

/// All extensions, in the order in which they are asked.
pub fn all(_config: &config::Config) -> Vec<Box<dyn Extension>> {
    let here: Vec<Box<dyn Extension>> = vec![
        Box::new(ping::Ping),
        Box::new(disco::Disco),
        Box::new(version::Version),
        Box::new(time::Time),
        Box::new(last::Last),
        Box::new(offline::Offline),
        Box::new(carbons::Carbons),
    ];
    here.into_iter().chain(elsewhere::all()).collect()
}

/// What the stream's features say of extensions, as XML.
pub fn features(extensions: &[Box<dyn Extension>]) -> String {
    extensions.iter().map(|extension| extension.about().stream_feature).collect()
}

/// The payload of a result, of an element that knows how to write itself.
fn payload(element: impl Into<xmpp_parsers::minidom::Element>) -> bytes::Bytes {
    let mut out = Vec::new();
    let element: xmpp_parsers::minidom::Element = element.into();
    element.write_to(&mut out).expect("memory takes all that is written to it");
    out.into()
}
