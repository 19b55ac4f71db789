//! Stanzas of other servers that come by links of ours (XEP-0288): they go the
//! same way as those of streams that have come.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{Instrument, debug, debug_span};

use crate::door::recent::Recent;
use crate::metrics;
use crate::router::Router;
use crate::s2s_manager::heard::{Heard, Stream};

/// Fetches what is said on links of ours, for ever.
pub async fn fetch(router: Arc<Router>, mut streams: mpsc::Receiver<Stream>) {
    while let Some(stream) = streams.recv().await {
        let routed = route(Arc::clone(&router), stream);
        tokio::spawn(routed.instrument(debug_span!("s2s_heard")));
    }
}

/// To the end of one of them.
async fn route(router: Arc<Router>, mut stream: Stream) {
    let stanzas = ::metrics::counter!(metrics::S2S_STANZAS_IN);
    let mut recent = Recent::default();
    while let Some(heard) = stream.recv().await {
        match *heard {
            Heard::Stanza(stanza) => {
                stanzas.increment(1);
                let order = recent.order(&stanza, std::time::Instant::now());
                router.route_foreign(stanza, order);
            }
            Heard::Answer(stanza) => router.route(stanza),
        }
    }
    debug!("a link to a server says no more");
}
