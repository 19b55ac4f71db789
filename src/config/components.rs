//! What is wrong with the sections about components, beyond one value alone.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::Config;
use crate::door::component::config::{Component, WEIGHT_MAX};
use crate::stream::component::NAME_BYTES_MAX;
use crate::xmpp::jid::Domain;

/// Buckets of one domain: as ejabberd's, which has had these for long.
const BUCKETS: std::ops::RangeInclusive<u16> = 2..=1_000;

type Fault = (&'static str, String);

/// All of them.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let component = &config.component;
    let ours: BTreeSet<Domain> = config.domains().into_iter().collect();
    let mut seen = BTreeSet::new();
    for (domain, _) in component.all_domains() {
        if ours.contains(domain) {
            let words = format!("{domain} is served by this server itself");
            faults.push(("component.domains", words));
        }
        if !seen.insert(domain) {
            faults.push(("component.domains", format!("{domain} stands there twice")));
        }
    }
    for (domain, one) in &component.domains {
        of_one(domain, one, &mut faults);
    }
    let behind = &component.proxy_protocol;
    let has_proxies = !behind.listen.is_empty() || !behind.direct_tls_listen.is_empty();
    if has_proxies && behind.trusted.is_empty() {
        let cure = "name the networks of the load balancers, as \"10.0.0.0/8\"";
        faults.push(("component.proxy_protocol.trusted", format!("nobody is trusted; {cure}")));
    }
    let has_tls =
        component.direct_tls_listen.iter().chain(&behind.direct_tls_listen).next().is_some();
    if has_tls && config.tls.is_empty() {
        faults.push(("component.direct_tls_listen", "there is no certificate".into()));
    }
    for (domain, policy) in &config.domain_balancing {
        if ours.contains(domain) {
            let words = format!("{domain} is served by this server itself");
            faults.push(("domain_balancing", words));
        }
        if let Some(number) = policy.component_number.filter(|number| !BUCKETS.contains(number)) {
            let (low, high) = (BUCKETS.start(), BUCKETS.end());
            let words =
                format!("{domain}: component_number {number} is not between {low} and {high}");
            faults.push(("domain_balancing", words));
        }
        if policy.hold.get().as_secs() > 60 {
            faults.push(("domain_balancing", format!("{domain}: hold is longer than 60s")));
        }
    }
    faults
}

fn of_one(domain: &Domain, one: &Component, faults: &mut Vec<Fault>) {
    let sources = [one.secret.is_some(), one.secret_file.is_some(), one.secret_env.is_some()];
    if sources.into_iter().filter(|is_there| *is_there).count() != 1 {
        let words = format!("{domain} needs one of secret, secret_file and secret_env");
        faults.push(("component.domains", words));
    }
    for (name, weight) in &one.weights {
        if !(1..=WEIGHT_MAX).contains(weight) {
            let words =
                format!("{domain}: the weight of {name:?} is not between 1 and {WEIGHT_MAX}");
            faults.push(("component.domains", words));
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX * 2 {
            faults.push(("component.domains", format!("{domain}: no instance is named {name:?}")));
        }
    }
}

/// The files that these sections name.
pub(super) fn files(config: &mut Config) -> impl Iterator<Item = &mut PathBuf> {
    config.component.domains.values_mut().filter_map(|one| one.secret_file.as_mut())
}

/// The domains of all components: all nodes must have the same.
pub(super) fn names(config: &Config) -> BTreeSet<&Domain> {
    config.component.all_domains().map(|(domain, _)| domain).collect()
}
