//! What is wrong with the sections about components, beyond one value alone.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::Config;
use crate::door::component::config as component;
use crate::door::component::config::{Component, WEIGHT_MAX};
use crate::door::component::privilege::Access;
use crate::router::components::Watches;
use crate::stream::component::NAME_BYTES_MAX;
use crate::units::Span;
use crate::xmpp::jid::Domain;

/// Buckets of one domain: as ejabberd's, which has had these for long.
const BUCKETS: std::ops::RangeInclusive<u16> = 2..=1_000;

type Fault = (&'static str, String);

/// All of them.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let component = &config.component;
    bounds(component, &mut faults);
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
    let mut delegated = BTreeSet::new();
    for ns in component.domains.values().flat_map(|one| &one.delegation) {
        if !delegated.insert(ns) {
            faults.push(("component.domains", format!("{ns} is delegated twice")));
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

fn bounds(component: &component::Config, faults: &mut Vec<Fault>) {
    let millis = |span: Span| u64::try_from(span.get().as_millis()).unwrap_or(u64::MAX);
    let negotiation = millis(component.negotiation_timeout);
    let stanza = component.stanza_bytes_max.bytes() as u64;
    for (key, value, low, high) in [
        ("component.negotiation_timeout", negotiation, 1_000, 600_000),
        ("component.write_timeout", millis(component.write_timeout), 1_000, 3_600_000),
        ("component.connections_max", component.connections_max as u64, 1, 100_000),
        ("component.stanza_bytes_max", stanza, 10_000, 512 << 10),
        ("component.outbox_bytes_max", component.outbox_bytes_max.bytes() as u64, 16_384, 1 << 30),
    ] {
        if !(low..=high).contains(&value) {
            faults.push((key, format!("{value} is not between {low} and {high}")));
        }
    }
}

fn of_one(domain: &Domain, one: &Component, faults: &mut Vec<Fault>) {
    let sources = [one.secret.is_some(), one.secret_file.is_some(), one.secret_env.is_some()];
    if sources.into_iter().filter(|is_there| *is_there).count() != 1 {
        let words = format!("{domain} needs one of secret, secret_file and secret_env");
        faults.push(("component.domains", words));
    }
    let is_read = matches!(one.privileges.roster, Access::Get | Access::Both);
    if one.privileges.presence == Watches::Roster && !is_read {
        let words = format!("{domain}: to hear of contacts it must read rosters (XEP-0356)");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, key: &str, words: &str) {
        let mut config: Config = toml::from_str(text).expect("TOML");
        config.server.domains = vec!["im".into()];
        let told = faults(&config);
        assert!(told.iter().any(|(at, said)| *at == key && said.contains(words)), "{told:?}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        let gw = "[component.domains.gw]\nsecret = 'x'\n";
        let mut good: Config = toml::from_str(gw).expect("TOML");
        good.server.domains = vec!["im".into()];
        assert_eq!(faults(&good), []);
        check("[component.domains.im]\nsecret = 'x'", "component.domains", "im is served by");
        check("[component.domains.gw]", "component.domains", "gw needs one of secret");
        let two = "[component.domains.gw]\nsecret = 'x'\nsecret_env = 'Y'";
        check(two, "component.domains", "gw needs one of secret");
        let hears = format!("{gw}[component.domains.gw.privileges]\npresence = 'roster'");
        check(&hears, "component.domains", "to hear of contacts");
        check(&format!("{gw}also = ['gw']"), "component.domains", "gw stands there twice");
        check(&format!("{gw}weights = {{ a = 11 }}"), "component.domains", "the weight of \"a\"");
        check("[domain_balancing.im]", "domain_balancing", "im is served by");
        let twice = "delegation = ['u']\n[component.domains.x]\nsecret = 'x'\ndelegation = ['u']";
        check(&format!("{gw}{twice}"), "component.domains", "u is delegated twice");
        let one = "[domain_balancing.gw]\ncomponent_number = 1";
        check(one, "domain_balancing", "component_number 1 is not between 2 and 1000");
        check("[domain_balancing.gw]\nhold = '2m'", "domain_balancing", "longer than 60s");
        let stanza = "[component]\nstanza_bytes_max = '1KiB'";
        check(stanza, "component.stanza_bytes_max", "1024 is not between");
        let tls = "[component]\ndirect_tls_listen = ['127.0.0.1:1']";
        check(tls, "component.direct_tls_listen", "no certificate");
        let proxy = "[component.proxy_protocol]\nlisten = ['127.0.0.1:1']";
        check(proxy, "component.proxy_protocol.trusted", "nobody is trusted");
    }
}
