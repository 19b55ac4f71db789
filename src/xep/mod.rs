//! Extensions: one file each, one line in the list.

pub mod blocking;
pub mod caps;
pub mod carbons;
pub mod commands;
pub mod config;
pub mod contact_addresses;
pub mod disco;
pub mod elsewhere;
pub mod last;
pub mod offline;
pub mod ping;
pub mod private;
pub mod register;
pub mod time;
pub mod vcard;
pub mod version;

use crate::extension::Extension;
use crate::session_manager::blocked::Blocked;
use crate::xml::head::Raw;
use crate::xml::pieces::pieces;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::stanza::Stanza;

/// All extensions, in the order in which they are asked.
pub fn all(config: &config::Config) -> Vec<Box<dyn Extension>> {
    let here: Vec<Box<dyn Extension>> = vec![
        Box::new(ping::Ping),
        Box::new(disco::Disco),
        Box::new(version::Version),
        Box::new(time::Time),
        Box::new(last::Last),
        Box::new(offline::Offline),
        Box::new(caps::Caps),
        Box::new(contact_addresses::ContactAddresses { contacts: config.contacts.clone() }),
        Box::new(blocking::Blocking {
            blocked: Blocked::default(),
            blocked_max: config.blocked_max,
        }),
        Box::new(carbons::Carbons),
        Box::new(vcard::Vcard { bytes_max: config.vcard_bytes_max.bytes() }),
        Box::new(private::Private {
            bytes_max: config.private_bytes_max.bytes(),
            elements_max: config.private_elements_max,
        }),
    ];
    here.into_iter().chain(elsewhere::all()).collect()
}

/// What the stream's features say of extensions, as XML.
pub fn features(extensions: &[Box<dyn Extension>]) -> String {
    let features = extensions.iter().map(|extension| extension.about().stream_feature);
    features.chain([&*caps::feature(extensions)]).collect()
}

/// The child of a request, as bytes that mean the same anywhere.
///
/// # Errors
/// `bad-request` where they do not.
fn child_of(request: &Stanza) -> Result<Raw, StanzaError> {
    let outside = "a prefix must be declared where it is used";
    let foreign = |_| StanzaError::from(StanzaCondition::BadRequest).with_text(outside);
    let mut pieces = pieces(&request.payload).map_err(foreign)?;
    pieces.pop().ok_or_else(|| StanzaCondition::BadRequest.into())
}

/// The payload of a result, of an element that knows how to write itself.
fn payload(element: impl Into<xmpp_parsers::minidom::Element>) -> bytes::Bytes {
    let mut out = Vec::new();
    let element: xmpp_parsers::minidom::Element = element.into();
    element.write_to(&mut out).expect("memory takes all that is written to it");
    out.into()
}
