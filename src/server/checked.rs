//! What the configuration names, looked at before anything starts.

use std::sync::Arc;

use crate::cluster::cookie::{CookieError, VARIABLE};
use crate::cluster::keyring::Keyring;
use crate::cluster::node::NodeName;
use crate::config::Config;
use crate::net::tls::Certificates;
use crate::s2s_manager::certificate::Roots;
use crate::server::errors::StartError;

/// Looks at all that the configuration names, without starting anything.
///
/// # Errors
/// All that would keep the server from starting.
pub fn check(config: &Config) -> Result<(), Vec<StartError>> {
    let mut errors = Vec::new();
    errors.extend(ring(config).err().map(StartError::from));
    errors.extend(name(config).err());
    errors.extend(Certificates::read(config.tls.clone()).err().map(StartError::from));
    if config.s2s_manager.enabled {
        errors.extend(Roots::read(&config.s2s_manager.roots).err().map(StartError::from));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The cookies: those of the environment, else those of the file.
///
/// # Errors
/// [`CookieError`], with the cure.
pub fn ring(config: &Config) -> Result<Arc<Keyring>, CookieError> {
    match std::env::var(VARIABLE) {
        Ok(text) => Keyring::new(&text),
        Err(_) => Keyring::read(&config.cluster.cookie_file),
    }
}

pub(super) fn name(config: &Config) -> Result<NodeName, StartError> {
    if let Some(name) = &config.cluster.name {
        return Ok(name.clone());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    NodeName::new(&host.trim().to_lowercase()).map_err(StartError::Name)
}
