//! Room 4 and its door, put together.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cluster::keyring::Keyring;
use crate::config::Config;
use crate::door::s2s::{self, S2s};
use crate::extension::Rooms;
use crate::net::tls::Certificates;
use crate::router::Router;
use crate::router::components::Components;
use crate::router::elsewhere::RETURNED_MAX;
use crate::s2s_manager::arrivals::Arrivals;
use crate::s2s_manager::certificate::Roots;
use crate::s2s_manager::heard::{self, STREAMS_MAX, Up};
use crate::s2s_manager::links::Links;
use crate::s2s_manager::resolve::Resolve;
use crate::s2s_manager::trust::Trust;
use crate::server::errors::StartError;
use crate::session_manager::session::Held;
use crate::stream::server::Pair;

/// What speaks with other servers.
pub(super) struct Servers {
    pub(super) links: Arc<Links<Held>>,
    pub(super) arrivals: Arc<Arrivals>,
    /// What links could not send; for the router.
    pub(super) returned: mpsc::Receiver<Pair>,
    /// What is said on links of ours; for the door.
    pub(super) heard: mpsc::Receiver<heard::Stream>,
}

impl Servers {
    /// No link yet, and nobody has come.
    ///
    /// # Errors
    /// [`StartError`]: what the configuration names cannot be used.
    pub(super) fn new(
        config: &Config,
        ring: &Arc<Keyring>,
        certificates: &Arc<Certificates>,
        rooms: &Arc<Rooms>,
        components: &Arc<Components>,
    ) -> Result<Self, StartError> {
        let roots = match config.s2s_manager.enabled {
            true => Roots::read(&config.s2s_manager.roots)?,
            false => Roots::none(),
        };
        let (certificates, ring) = (Arc::clone(certificates), Arc::clone(ring));
        // other servers reach our components by us
        let (ours, served) = (Arc::clone(rooms), Arc::clone(components));
        let serves = Arc::new(move |domain: &str| ours.serves(domain) || served.serves(domain));
        // what is no domain was refused when the configuration was read
        let rules = config.s2s_manager.clone().normal().unwrap_or_default();
        let resolve = Arc::new(Resolve::new(&rules).map_err(StartError::Resolver)?);
        let trust = Trust::new(rules, certificates, ring, roots, serves);
        let (up, returned) = mpsc::channel(RETURNED_MAX);
        let (streams, heard) = mpsc::channel(STREAMS_MAX);
        let heard_up = Up { streams, limits: config.s2s.limits() };
        let links = Links::new(trust, resolve, Arc::clone(&rooms.cluster), up, heard_up);
        Ok(Self { links, arrivals: Arc::default(), returned, heard })
    }

    /// The door, and whoever fetches what comes back.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn open(
        self,
        config: &Config,
        certificates: &Arc<Certificates>,
        router: &Arc<Router>,
    ) -> Result<Arc<S2s>, StartError> {
        let Self { links, arrivals, returned, heard } = self;
        tokio::spawn(Arc::clone(router).fetch_returned(returned));
        tokio::spawn(s2s::heard::fetch(Arc::clone(router), heard));
        let rooms = s2s::Rooms { router: Arc::clone(router), servers: links, arrivals };
        let mut domains = config.domains();
        domains.extend(config.component.all_domains().map(|(domain, _)| domain.clone()));
        Ok(Arc::new(S2s::new(config.s2s.clone(), &domains, certificates, rooms)?))
    }
}
