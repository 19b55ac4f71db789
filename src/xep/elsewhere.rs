//! What other rooms do by themselves, so that clients and people hear of it.

use async_trait::async_trait;

use crate::extension::{About, Extension};
use crate::xmpp::namespaces::{DELAY, FORWARD, HINTS};

/// Client state: `door/client` hears it, `session_manager/inactive` keeps.
const CLIENT_STATE: About = About {
    specification: "XEP-0352: Client State Indication",
    stream_feature: "<csi xmlns='urn:xmpp:csi:0'/>",
    ..NOTHING
};

/// The stamp of what was kept: `router/offline`, `router/last`.
const DELAYED: About =
    About { specification: "XEP-0203: Delayed Delivery", host_features: &[DELAY], ..NOTHING };

/// What is worth keeping: `session_manager/hints`; and copying: `carbons`.
const HINTED: About = About {
    specification: "XEP-0334: Message Processing Hints",
    host_features: &[HINTS],
    ..NOTHING
};

/// How a copy holds its original: `carbons`.
const FORWARDED: About =
    About { specification: "XEP-0297: Stanza Forwarding", host_features: &[FORWARD], ..NOTHING };

/// Who is behind other domains: `door/component`, `router/passing`.
const COMPONENTS: About = About { specification: "XEP-0114: Jabber Component Protocol", ..NOTHING };

/// What components may do for accounts: `door/component/privilege`.
const PRIVILEGED: About = About { specification: "XEP-0356: Privileged Entity", ..NOTHING };

/// What components answer in our place: `router/delegating`.
const DELEGATED: About = About { specification: "XEP-0355: Namespace Delegation", ..NOTHING };

/// What a component's stream takes: `stream/component`.
const LIMITED: About = About { specification: "XEP-0478: Stream Limits Advertisement", ..NOTHING };

/// All of them.
const ALL: [About; 8] =
    [CLIENT_STATE, DELAYED, HINTED, FORWARDED, COMPONENTS, DELEGATED, PRIVILEGED, LIMITED];

const NOTHING: About = About {
    specification: "",
    host_features: &[],
    account_features: &[],
    stream_feature: "",
    requests: &[],
    of_sender: &[],
};

/// An extension that is somewhere else.
#[derive(Debug)]
pub struct Elsewhere(About);

#[async_trait]
impl Extension for Elsewhere {
    fn about(&self) -> About {
        self.0
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = Box<dyn Extension>> {
    ALL.into_iter().map(|about| Box::new(Elsewhere(about)) as Box<dyn Extension>)
}
