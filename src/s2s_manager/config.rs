//! `[s2s_manager]`: which other servers we speak with, and how.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::s2s_manager::place::Place;
use crate::s2s_manager::rate::Rate;
use crate::stream::server::Policy;
use crate::units::{Size, Span};
use crate::xmpp::jid::Domain;

/// Between which the burst of a rate lies, in milliseconds. Guesses.
const BURST_MILLIS: RangeInclusive<u64> = 100..=3_600_000;

/// The section `[s2s_manager]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether we speak with other servers at all.
    pub enabled: bool,
    /// Whom DNS is asked of; empty: whom the system asks.
    pub resolvers: Vec<SocketAddr>,
    /// Whether a server must use TLS.
    pub require_tls: bool,
    /// Whether a server's certificate must speak for its domain. Off: dialback
    /// does as well, outside TLS too where that is not required.
    pub require_valid_certificate: bool,
    /// The exception to the above: inside TLS dialback does as well.
    pub dialback: bool,
    /// Who may sign certificates, in PEM; empty: whom the system trusts.
    pub roots: PathBuf,
    /// Whether certificates that a domain names in DNS count (DANE), which needs
    /// a name server that gives what DNSSEC wants.
    pub dane: bool,
    /// Keys that DNSSEC begins with, as DNSKEY records in a file; empty: those of
    /// the root.
    pub dane_anchors: PathBuf,
    /// Whether one stream may carry stanzas both ways (XEP-0288), where the
    /// other server can do so.
    pub bidirectional: bool,
    /// A stream whose connection was lost may go on by another within this
    /// time (XEP-0198), on the same node. Zero: it may not.
    pub resume_time_max: Span,
    /// The only domains that we speak with; empty: all. `*.` in front of one
    /// means all below it.
    pub allow: Vec<String>,
    /// Domains that we do not speak with.
    pub block: Vec<String>,
    /// Whether servers may be where DNS should not lead: private networks and
    /// this machine.
    pub private_addresses: bool,
    /// A link on which nothing was sent for so long is closed.
    pub idle_timeout: Span,
    /// How long one address of a server may take to answer.
    pub connect_timeout: Span,
    /// How long a server that we write to may let us wait.
    pub write_timeout: Span,
    /// What may wait for one link; one byte more comes back with
    /// `resource-constraint`.
    pub queue_bytes_max: Size,
    /// How long it may wait until the link stands; then it comes back with
    /// `remote-server-timeout`.
    pub queue_time_max: Span,
    /// After a link has failed, the next try waits so long, then twice as
    /// long, and so on.
    pub retry_after_min: Span,
    /// But no longer than that.
    pub retry_after_max: Span,
    /// Links of the whole cluster between two domains.
    pub links_per_pair_max: usize,
    /// Links of this node.
    pub links_per_node_max: usize,
    /// What each server may send to this node: streams over it are read more
    /// slowly.
    pub incoming_rate: Rate,
    /// What each server is sent by this node: the rest waits for its link.
    pub outgoing_rate: Rate,
    /// Where servers are, for those that DNS is not asked about.
    pub hosts: BTreeMap<String, Vec<Place>>,
    /// What is different for some servers.
    pub domains: BTreeMap<String, Own>,
}

/// The section `[s2s_manager.domains."example.net"]`: what is different for
/// that server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Own {
    /// As in `[s2s_manager]`.
    pub require_tls: Option<bool>,
    /// As in `[s2s_manager]`.
    pub require_valid_certificate: Option<bool>,
    /// As in `[s2s_manager]`.
    pub dialback: Option<bool>,
    /// As in `[s2s_manager]`, all of it.
    // not said where it is not: older nodes of the cluster compare this
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming_rate: Option<Rate>,
    /// As above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outgoing_rate: Option<Rate>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            resolvers: Vec::new(),
            require_tls: true,
            require_valid_certificate: true,
            dialback: false,
            roots: PathBuf::new(),
            dane: false,
            dane_anchors: PathBuf::new(),
            bidirectional: true,
            // a guess: what is for a server that is gone waits for so long
            resume_time_max: Span::seconds(10),
            allow: Vec::new(),
            block: Vec::new(),
            private_addresses: false,
            // as ejabberd's
            idle_timeout: Span::seconds(3_600),
            connect_timeout: Span::seconds(10),
            write_timeout: Span::seconds(60),
            queue_bytes_max: Size::kibibytes(1024),
            queue_time_max: Span::seconds(30),
            retry_after_min: Span::seconds(5),
            // as ejabberd's `s2s_max_retry_delay`
            retry_after_max: Span::seconds(300),
            links_per_pair_max: 1,
            links_per_node_max: 10_000,
            incoming_rate: Rate::default(),
            outgoing_rate: Rate::default(),
            hosts: BTreeMap::new(),
            domains: BTreeMap::new(),
        }
    }
}

impl Config {
    /// By what rules a server is believed; `None`: we do not speak with it.
    pub fn policy(&self, theirs: &Domain) -> Option<Policy> {
        let is_named = |list: &[String]| list.iter().any(|one| is_meant(one, theirs.as_str()));
        let is_allowed = self.allow.is_empty() || is_named(&self.allow);
        if !self.enabled || !is_allowed || is_named(&self.block) {
            return None;
        }
        let own = self.domains.get(theirs.as_str()).copied().unwrap_or_default();
        let valid = own.require_valid_certificate.unwrap_or(self.require_valid_certificate);
        Some(Policy {
            require_tls: own.require_tls.unwrap_or(self.require_tls),
            require_valid_certificate: valid,
            dialback: own.dialback.unwrap_or(self.dialback),
            bidirectional: self.bidirectional,
        })
    }

    /// How much a second a server may send to this node.
    pub fn incoming_rate(&self, theirs: &str) -> Rate {
        let own = self.domains.get(theirs).and_then(|own| own.incoming_rate);
        own.unwrap_or(self.incoming_rate)
    }

    /// How much a second a server is sent by this node.
    pub fn outgoing_rate(&self, theirs: &str) -> Rate {
        let own = self.domains.get(theirs).and_then(|own| own.outgoing_rate);
        own.unwrap_or(self.outgoing_rate)
    }

    /// The same with all domains in their normal form.
    ///
    /// # Errors
    /// The key and the text that is no domain.
    pub fn normal(mut self) -> Result<Self, (&'static str, String)> {
        fn domain(key: &'static str, text: &str) -> Result<String, (&'static str, String)> {
            let parse = |text: &str| Domain::parse(text).map(|domain| domain.as_str().to_owned());
            let normal = match text.strip_prefix("*.") {
                Some(rest) => parse(rest).map(|rest| format!("*.{rest}")),
                None => parse(text),
            };
            normal.map_err(|_| (key, text.to_owned()))
        }
        for (key, list) in
            [("s2s_manager.allow", &mut self.allow), ("s2s_manager.block", &mut self.block)]
        {
            for one in list {
                *one = domain(key, one)?;
            }
        }
        let hosts = std::mem::take(&mut self.hosts).into_iter();
        let hosts = hosts.map(|(name, at)| Ok((domain("s2s_manager.hosts", &name)?, at)));
        self.hosts = hosts.collect::<Result<_, _>>()?;
        let own = std::mem::take(&mut self.domains).into_iter();
        let own = own.map(|(name, own)| Ok((domain("s2s_manager.domains", &name)?, own)));
        self.domains = own.collect::<Result<_, _>>()?;
        Ok(self)
    }
}

impl Config {
    /// Keys with their values, and between which these may lie.
    pub fn bounds(&self) -> Vec<(&'static str, u64, RangeInclusive<u64>)> {
        let millis = |span: Span| u64::try_from(span.get().as_millis()).unwrap_or(u64::MAX);
        let day = 86_400_000;
        let own = self.domains.values();
        let own = own.flat_map(|own| [own.incoming_rate, own.outgoing_rate]).flatten();
        let own = own.map(|rate| ("s2s_manager.domains", millis(rate.burst), BURST_MILLIS));
        let mut bounds = vec![
            ("s2s_manager.idle_timeout", millis(self.idle_timeout), 100..=7 * day),
            ("s2s_manager.connect_timeout", millis(self.connect_timeout), 100..=600_000),
            ("s2s_manager.write_timeout", millis(self.write_timeout), 100..=3_600_000),
            ("s2s_manager.resume_time_max", millis(self.resume_time_max), 0..=600_000),
            ("s2s_manager.queue_bytes_max", self.queue_bytes_max.bytes() as u64, 1 << 14..=1 << 30),
            ("s2s_manager.queue_time_max", millis(self.queue_time_max), 100..=3_600_000),
            ("s2s_manager.retry_after_min", millis(self.retry_after_min), 10..=day),
            ("s2s_manager.retry_after_max", millis(self.retry_after_max), 10..=day),
            ("s2s_manager.links_per_pair_max", self.links_per_pair_max as u64, 1..=256),
            ("s2s_manager.links_per_node_max", self.links_per_node_max as u64, 1..=1_000_000),
            ("s2s_manager.incoming_rate.burst", millis(self.incoming_rate.burst), BURST_MILLIS),
            ("s2s_manager.outgoing_rate.burst", millis(self.outgoing_rate.burst), BURST_MILLIS),
        ];
        bounds.extend(own);
        bounds
    }

    /// What must be the same on all nodes.
    pub fn shared(&self) -> impl Serialize {
        (
            (self.enabled, self.require_tls, self.require_valid_certificate, self.dialback),
            (self.allow.clone(), self.block.clone(), self.domains.clone()),
            self.links_per_pair_max,
        )
    }
}

/// Whether an entry of a list means this domain.
fn is_meant(entry: &str, domain: &str) -> bool {
    match entry.strip_prefix("*.") {
        Some(above) => domain.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
        None => entry == domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &Config, domain: &str, expected: Option<(bool, bool, bool)>) {
        let policy = config.policy(&Domain::parse(domain).expect("a domain"));
        let policy = policy
            .map(|policy| (policy.require_tls, policy.require_valid_certificate, policy.dialback));
        assert_eq!(policy, expected, "{domain}");
    }

    #[test]
    fn a_rate_of_one_domain_is_its_own_and_others_have_that_of_all() {
        let text = "incoming_rate = { stanzas_per_second_max = 100 }\n\
            [domains.\"Slow.example\"]\noutgoing_rate = { bytes_per_second_max = \"1KiB\" }\n";
        let config: Config = toml::from_str(text).expect("a section");
        let config = config.normal().expect("domains");
        let stanzas = |rate: Rate| rate.stanzas_per_second_max;
        assert_eq!(stanzas(config.incoming_rate("any.example")), 100);
        assert_eq!(stanzas(config.incoming_rate("slow.example")), 100);
        assert!(config.outgoing_rate("any.example").is_unlimited());
        assert_eq!(config.outgoing_rate("slow.example").bytes_per_second_max.bytes(), 1_024);
        let outside = |config: &Config| {
            let mut bounds = config.bounds().into_iter();
            bounds.find(|(_, value, bounds)| !bounds.contains(value)).map(|(key, ..)| key)
        };
        assert_eq!(outside(&config), None);
        let burst = crate::units::Span::millis(1);
        let own = Own { incoming_rate: Some(Rate { burst, ..Rate::default() }), ..Own::default() };
        let mut wrong = config;
        wrong.domains.insert("wrong.example".into(), own);
        assert_eq!(outside(&wrong), Some("s2s_manager.domains"));
        // an older node of the cluster must see the same in what is not said
        let said = serde_json::to_string(&Own::default()).expect("JSON");
        assert!(!said.contains("rate"), "{said}");
    }

    #[test]
    fn lists_and_exceptions_are_found_by_domain() {
        let mut config = Config {
            block: vec!["Bad.example".into(), "*.worse.example".into()],
            ..Config::default()
        };
        let own = Own { dialback: Some(true), ..Own::default() };
        config.domains.insert("OLD.example".into(), own);
        let config = config.normal().expect("domains");
        check(&config, "good.example", Some((true, true, false)));
        check(&config, "old.example", Some((true, true, true)));
        check(&config, "bad.example", None);
        check(&config, "very.bad.example", Some((true, true, false)));
        check(&config, "a.worse.example", None);
        check(&config, "worse.example", Some((true, true, false)));
        check(&config, "notworse.example", Some((true, true, false)));
        let config = Config { allow: vec!["friend.example".into()], ..config };
        check(&config, "friend.example", Some((true, true, false)));
        check(&config, "good.example", None);
        let config = Config { enabled: false, ..config };
        check(&config, "friend.example", None);
        let wrong = Config { allow: vec!["a b".into()], ..Config::default() };
        assert_eq!(wrong.normal().err(), Some(("s2s_manager.allow", "a b".to_owned())));
    }
}
