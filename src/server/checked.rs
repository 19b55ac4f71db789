//! What the configuration names, looked at before anything starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::cookie::{CookieError, VARIABLE};
use crate::cluster::keyring::Keyring;
use crate::cluster::node::NodeName;
use crate::config::Config;
use crate::net::tls::Certificates;
use crate::s2s_manager::certificate::Roots;
use crate::server::errors::StartError;
use crate::stream::component::Secret;
use crate::xmpp::jid::Domain;

/// Looks at all that the configuration names, without starting anything.
///
/// # Errors
/// All that would keep the server from starting.
pub fn check(config: &Config) -> Result<(), Vec<StartError>> {
    let mut errors = Vec::new();
    errors.extend(ring(config).err().map(StartError::from));
    errors.extend(name(config).err());
    errors.extend(secrets(config).err());
    errors.extend(Certificates::read(config.tls.clone()).err().map(StartError::from));
    if config.s2s_manager.enabled {
        errors.extend(Roots::read(&config.s2s_manager.roots).err().map(StartError::from));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The secrets of all components, from wherever they are.
pub(super) fn secrets(config: &Config) -> Result<BTreeMap<Domain, Vec<Secret>>, StartError> {
    let mut all = BTreeMap::new();
    for (domain, component) in &config.component.domains {
        let wrong = |what: String| StartError::Secret { domain: domain.to_string(), what };
        let text = match (&component.secret, &component.secret_file, &component.secret_env) {
            (Some(secret), _, _) => secret.0.clone(),
            (_, Some(path), _) => std::fs::read_to_string(path).map_err(|error| {
                wrong(format!("cannot be read from {}: {error}", path.display()))
            })?,
            (_, _, Some(name)) => std::env::var(name)
                .map_err(|_| wrong(format!("is not in the environment as {name}")))?,
            _ => return Err(wrong("is nowhere".into())),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<Secret> = lines.map(|line| Secret::new(line.to_owned())).collect();
        if secrets.is_empty() {
            return Err(wrong("is empty".into()));
        }
        all.insert(domain.clone(), secrets);
    }
    Ok(all)
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
