//! What is believed of servers, and what we show to them: shared by the links
//! that we open and by the door through which others come.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::TryRngCore;
use rustls::ClientConfig;
use rustls::pki_types::UnixTime;

use crate::cluster::keyring::Keyring;
use crate::net::peer_tls::{self, Secured};
use crate::net::tls::Certificates;
use crate::s2s_manager::certificate::{self, Doubt, Roots};
use crate::s2s_manager::config::Config;
use crate::s2s_manager::dane::{self, Fit, Shown, Tlsa};
use crate::s2s_manager::place::Start;
use crate::stream::server::key::Secrets;
use crate::stream::server::{Policy, World};
use crate::xmpp::jid::Domain;

/// No stream is looked at again later than this. A guess, above the life of any
/// stream.
const LASTS_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Says whether a domain is ours, by the tables of this moment.
pub type Serves = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What is believed of servers, and what we show to them.
pub struct Trust {
    /// The operator's rules, domains in their normal form.
    pub config: Config,
    certificates: Arc<Certificates>,
    ring: Arc<Keyring>,
    roots: Roots,
    serves: Serves,
    /// TLS for connections that we open, by our domain and by whether it
    /// starts at once; as many as we have domains.
    connecting: Mutex<HashMap<(Domain, Start), Arc<ClientConfig>>>,
}

/// The world as one connection sees it.
#[derive(Debug, Clone)]
pub struct View {
    trust: Arc<Trust>,
    secured: Option<Secured>,
    /// What the records of the peer in DNS say of his certificate.
    fit: Option<(Domain, Fit)>,
}

impl Trust {
    /// Nothing was asked yet.
    pub fn new(
        config: Config,
        certificates: Arc<Certificates>,
        ring: Arc<Keyring>,
        roots: Roots,
        serves: Serves,
    ) -> Arc<Self> {
        let connecting = Mutex::default();
        Arc::new(Self { config, certificates, ring, roots, serves, connecting })
    }

    /// Whether the certificate in what a handshake has come to speaks for a
    /// domain now.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn vouch(&self, secured: &Secured, theirs: &Domain) -> Result<(), Doubt> {
        self.roots.vouch(&secured.chain, theirs, UnixTime::now())
    }

    /// TLS for a connection that we open for a domain of ours.
    ///
    /// # Errors
    /// Only if the crypto provider lacks TLS 1.2 or 1.3.
    pub fn connecting(
        &self,
        ours: &Domain,
        start: Start,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut known = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (ours.clone(), start);
        if let Some(config) = known.get(&key) {
            return Ok(Arc::clone(config));
        }
        let alpn: &[&[u8]] = match start {
            Start::DirectTls => &[peer_tls::ALPN],
            Start::StartTls => &[],
        };
        let config = peer_tls::connecting(&self.certificates, ours.as_str(), alpn)?;
        known.insert(key, Arc::clone(&config));
        Ok(config)
    }

    /// Whether a domain is ours.
    pub fn serves(&self, domain: &str) -> bool {
        (self.serves)(domain)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots.count()).finish_non_exhaustive()
    }
}

impl View {
    /// Of a connection that is not secured.
    pub fn plain(trust: Arc<Trust>) -> Self {
        Self { trust, secured: None, fit: None }
    }

    /// Of one that is, from now on.
    pub fn secure(&mut self, secured: Secured) {
        self.secured = Some(secured);
    }

    /// Judges what the handshake has come to by the records of the peer in DNS.
    pub fn judge(&mut self, records: &[Tlsa], theirs: &Domain, host: &str) -> Fit {
        let chain = self.secured.as_ref().map_or(&[][..], |secured| &secured.chain[..]);
        let shown = Shown { chain, domain: theirs, host };
        let fit = dane::judge(records, &self.trust.roots, shown, UnixTime::now());
        self.fit = Some((theirs.clone(), fit));
        fit
    }

    /// Until when the certificate of the peer is valid, if it is the proof of
    /// who he is: what stands on it may not outlive it (RFC 6120 §13.7.2.3).
    pub fn ends(&self) -> Option<Instant> {
        if let Some((_, Fit::Named)) = self.fit {
            return None;
        }
        let lasts = certificate::lasts(&self.secured.as_ref()?.chain, UnixTime::now())?;
        // a moment that is too far away for a clock is none
        Instant::now().checked_add(lasts.min(LASTS_MAX))
    }

    /// What the handshake has come to.
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }
}

impl World for View {
    fn serves(&self, domain: &str) -> bool {
        self.trust.serves(domain)
    }

    fn policy(&self, theirs: &Domain) -> Option<Policy> {
        self.trust.config.policy(theirs)
    }

    fn vouches(&self, theirs: &Domain) -> bool {
        match &self.fit {
            Some((domain, Fit::Named | Fit::Vouched)) if domain == theirs => return true,
            Some((_, Fit::Refused)) => return false,
            Some(_) | None => {}
        }
        let secured = self.secured.as_ref();
        secured.is_some_and(|secured| self.trust.vouch(secured, theirs).is_ok())
    }

    fn secrets(&self) -> Secrets {
        Secrets::new(self.trust.ring.dialback())
    }

    fn id(&self) -> String {
        let mut bytes = [0; 16];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the kernel gives random bytes");
        format!("{:032x}", u128::from_be_bytes(bytes))
    }

    fn kept(&self) -> u64 {
        self.trust.config.resume_time_max.get().as_secs()
    }
}
