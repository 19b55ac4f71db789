//! Why the server does not start, or ends, in words for whoever starts it.

use std::path::PathBuf;

use crate::cluster::cookie::CookieError;
use crate::cluster::driver;
use crate::cluster::node::NameError;
use crate::cluster::proof::Verdict;
use crate::door::mesh;

/// Why the server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No cookie.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// No usable certificate.
    #[error(transparent)]
    Tls(#[from] crate::net::tls::TlsError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
    /// A port.
    #[error(transparent)]
    Listen(#[from] crate::net::listener::ListenError),
    /// No usable roots.
    #[error(transparent)]
    Roots(#[from] crate::s2s_manager::certificate::RootsError),
    /// Nobody to ask DNS of.
    #[error("the system does not say whom to ask for names; `[s2s_manager] resolvers` does")]
    Resolver(#[source] hickory_resolver::net::NetError),
    /// The HTTP port, or the control socket.
    #[error("cannot listen on {place}")]
    Admin {
        /// Which.
        place: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The cluster's sockets.
    #[error(transparent)]
    Cluster(#[from] driver::StartError),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::storage::embedded::OpenError),
    /// The durable tables.
    #[error(transparent)]
    Durable(#[from] crate::cluster::durable::DurableError),
    /// The data directory.
    #[error("cannot use the data directory {path}")]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The name of the host is no name for a node.
    #[error("the name of this host is no name for a node; `[cluster] name` gives one")]
    Name(#[source] NameError),
    /// The cluster does not let it in.
    #[error("{by} does not let this node in: {verdict}{}", cure(*verdict))]
    Refused {
        /// Who says so.
        by: std::net::SocketAddr,
        /// Why.
        verdict: Verdict,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] crate::storage::StoreError),
    /// The secret of a component.
    #[error("component.domains: the secret of {domain} {what}")]
    Secret {
        /// Whose.
        domain: String,
        /// What is wrong.
        what: String,
    },
    /// The process must end.
    #[error(transparent)]
    End(#[from] mesh::End),
    /// The system gives us no signals.
    #[error("the system gives no signals")]
    Signal(#[source] std::io::Error),
}

/// What an operator can do about it.
fn cure(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NameTaken => {
            "; `[cluster] name` gives this one another name, and if its data directory is a copy, it needs an empty one"
        }
        Verdict::Welcome
        | Verdict::Removed
        | Verdict::Normaliser
        | Verdict::Yourself
        | Verdict::Failed => "",
    }
}
