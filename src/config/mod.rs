//! The whole configuration: the sum of the rooms' own sections.
//!
//! Text comes in from files, the environment and flags, the later over the
//! earlier (`source`); checked values go out. What a key means stands at its
//! room.

mod components;
pub mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cluster::hash::stable;
use crate::cluster::protocol::Protocol;
use crate::config::source::{ConfigError, Source, locate, merge, one_key, parse, read};
use crate::net::tls::Certificate;
use crate::stream::sasl::credentials::Iterations;
use crate::stream::sasl::mechanism::Mechanism;
use crate::units::Span;
use crate::xmpp::jid::{BareJid, Domain};

/// Variables of the environment that are keys: `JABIRU_C2S__REQUIRE_TLS` is
/// `require_tls` of the section `c2s`.
const VARIABLE_PREFIX: &str = "JABIRU_";
const VARIABLE_DIVIDER: &str = "__";

/// Everything that can be configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this server is.
    pub server: Server,
    /// What it writes about itself.
    pub log: Log,
    /// The certificates that clients see.
    pub tls: Vec<Certificate>,
    /// How clients prove who they are.
    pub sasl: Sasl,
    /// The door for clients.
    pub c2s: crate::door::config::Config,
    /// The door for components.
    pub component: crate::door::component::config::Config,
    /// How stanzas are shared among the instances of a component.
    pub domain_balancing: crate::router::balance::Config,
    /// The door for other servers.
    pub s2s: crate::door::s2s::config::Config,
    /// Which other servers we speak with.
    pub s2s_manager: crate::s2s_manager::config::Config,
    /// Sessions and their conflicts.
    pub session_manager: crate::session_manager::config::Config,
    /// Rosters and subscriptions.
    pub im: crate::im::config::Config,
    /// What extensions keep.
    pub xep: crate::xep::config::Config,
    /// What people may do with accounts by themselves.
    pub register: crate::xep::register::config::Config,
    /// The other nodes.
    pub cluster: crate::cluster::config::Config,
    /// The operator's doors.
    pub admin: crate::admin::config::Config,
}

/// The section `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The domains that are served; the same on all nodes.
    pub domains: Vec<String>,
    /// Where this node keeps its rows; no other node may have the same.
    pub data_dir: PathBuf,
    /// How long a stopping node waits for its clients to go.
    pub stop_time_max: Span,
}

/// The section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is written: `error`, `warn`, `info`, `debug`, `trace`, or one for
    /// each room: `info,jabiru::cluster=debug`.
    pub level: String,
    /// Lines for people, or for machines.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The section `[sasl]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sasl {
    /// What is offered, where it is safe and possible.
    pub mechanisms: Vec<Mechanism>,
    /// How often a new password is hashed (RFC 7677 §4: at least 4096).
    pub iterations: Iterations,
}

impl Default for Server {
    fn default() -> Self {
        Self { domains: Vec::new(), data_dir: "data".into(), stop_time_max: Span::seconds(10) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl Default for Sasl {
    fn default() -> Self {
        Self { mechanisms: Mechanism::ALL.to_vec(), iterations: Iterations::default() }
    }
}

impl Config {
    /// Reads `files`, then the environment, then `flags` (`section.key=value`).
    /// Relative paths are meant from the folder of the last file.
    ///
    /// # Errors
    /// All that is wrong with the first source that is wrong.
    pub fn load(
        files: &[PathBuf],
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, Vec<ConfigError>> {
        let mut keys = toml::Table::new();
        let mut sources = Vec::new();
        for file in files {
            let source = read(file).map_err(|error| vec![error])?;
            let table = parse(&source).map_err(|error| vec![error])?;
            merge(&mut keys, table);
            sources.push(source);
        }
        let variables = environment.into_iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(VARIABLE_PREFIX)?;
            let (section, key) = key.split_once(VARIABLE_DIVIDER)?;
            let key = key.replace(VARIABLE_DIVIDER, ".");
            Some((name.clone(), format!("{section}.{key}").to_lowercase(), value))
        });
        let flags = flags.iter().map(|flag| {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            (format!("--set {flag}"), key.to_owned(), value.to_owned())
        });
        for (place, key, value) in variables.chain(flags) {
            let text = one_key(&key, &value);
            let source = Source { place, text };
            let table = parse(&source).map_err(|mut error| {
                error.line = None;
                vec![error]
            })?;
            merge(&mut keys, table);
            sources.push(source);
        }
        let mut config: Config = keys.try_into().map_err(|error: toml::de::Error| {
            vec![ConfigError {
                place: "config".into(),
                line: None,
                key: None,
                message: error.message().to_owned(),
            }]
        })?;
        let errors: Vec<_> =
            config.faults().map(|(key, message)| locate(&sources, key, message)).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        if let Some(folder) = files.last().and_then(|file| file.parent()) {
            config.move_to(folder);
        }
        Ok(config)
    }

    /// What must be the same on all nodes, by section, as numbers to compare.
    pub fn shared(&self) -> BTreeMap<String, u64> {
        fn number(value: &impl Serialize) -> u64 {
            stable(&serde_json::to_vec(value).unwrap_or_default())
        }
        let numbers = [
            ("server.domains", number(&self.server.domains)),
            ("sasl", number(&self.sasl)),
            ("session_manager", number(&self.session_manager)),
            ("im", number(&self.im)),
            ("xep", number(&self.xep)),
            ("register", number(&self.register)),
            ("admin.admins", number(&self.admin.admins)),
            ("component.domains", number(&components::names(self))),
            ("domain_balancing", number(&self.domain_balancing)),
            ("cluster.tombstones_kept", number(&self.cluster.tombstones_kept)),
            ("c2s.stanza_bytes_max", number(&self.c2s.stanza_bytes_max)),
            ("s2s_manager", number(&self.s2s_manager.shared())),
        ];
        numbers.into_iter().map(|(name, number)| (name.to_owned(), number)).collect()
    }

    /// The domains, checked.
    pub fn domains(&self) -> Vec<Domain> {
        self.server.domains.iter().filter_map(|text| Domain::parse(text).ok()).collect()
    }

    /// What cannot be seen at one value alone.
    fn faults(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let mut faults = Vec::new();
        if self.server.domains.is_empty() {
            faults.push(("server.domains", "at least one domain must be served".into()));
        }
        for domain in &self.server.domains {
            if Domain::parse(domain).is_err() {
                faults.push(("server.domains", format!("{domain:?} is not a domain")));
            }
        }
        if self.tls.is_empty() && self.c2s.require_tls {
            let cure = "`jabiru cert` makes one for trying out";
            faults.push(("tls", format!("no certificate, but c2s.require_tls is on; {cure}")));
        }
        let servers = &self.s2s_manager;
        if self.tls.is_empty() && servers.enabled && servers.require_tls {
            let cure = "give one, or set s2s_manager.enabled to false";
            faults.push((
                "tls",
                format!("no certificate, but s2s_manager.require_tls is on; {cure}"),
            ));
        }
        if let Err((key, text)) = servers.clone().normal() {
            faults.push((key, format!("{text:?} is not a domain")));
        }
        let proxy = &self.c2s.proxy_protocol;
        for (key, listen) in [
            ("c2s.direct_tls_listen", &self.c2s.direct_tls_listen),
            ("c2s.proxy_protocol.direct_tls_listen", &proxy.direct_tls_listen),
        ] {
            if self.tls.is_empty() && !listen.is_empty() {
                let cure = "give one, or set it to []";
                faults.push((key, format!("there is no certificate; {cure}")));
            }
        }
        for (key, proxy) in [
            ("c2s.proxy_protocol.trusted", proxy),
            ("s2s.proxy_protocol.trusted", &self.s2s.proxy_protocol),
        ] {
            let has_proxies = !proxy.listen.is_empty() || !proxy.direct_tls_listen.is_empty();
            if has_proxies && proxy.trusted.is_empty() {
                let cure = "name the networks of the load balancers, as \"10.0.0.0/8\"";
                faults.push((key, format!("nobody is trusted; {cure}")));
            }
        }
        if Protocol::new(self.cluster.protocol_max).is_none() {
            let (oldest, newest) = (Protocol::OLDEST, Protocol::NEWEST);
            let words = format!("this version speaks protocols {oldest} to {newest}");
            faults.push(("cluster.protocol_max", words));
        }
        for admin in &self.admin.admins {
            let jid = BareJid::parse(admin).ok().filter(|jid| jid.local().is_some());
            let is_ours =
                |jid: BareJid| self.domains().iter().any(|domain| domain.as_str() == jid.domain());
            if !jid.is_some_and(is_ours) {
                faults.push(("admin.admins", format!("{admin:?} is no account of our domains")));
            }
        }
        for seed in &self.cluster.seeds {
            let port = seed.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                let allowed = "a host or an address with a port, as \"node1.example:4369\"";
                faults.push(("cluster.seeds", format!("{seed:?}: expected {allowed}")));
            }
        }
        faults.extend(components::faults(self));
        let mut bounds = |key, value: u64, allowed: std::ops::RangeInclusive<u64>| {
            if !allowed.contains(&value) {
                let (low, high) = (allowed.start(), allowed.end());
                faults.push((key, format!("{value} is not between {low} and {high}")));
            }
        };
        let millis = |span: Span| u64::try_from(span.get().as_millis()).unwrap_or(u64::MAX);
        let c2s = &self.c2s;
        // a year of tombstones is a year of all that was ever removed
        let kept = millis(self.cluster.tombstones_kept);
        bounds("cluster.tombstones_kept", kept, 1_000..=366 * 86_400_000);
        bounds("cluster.gossip_interval", millis(self.cluster.gossip_interval), 20..=10_000);
        bounds("cluster.phi", u64::from(self.cluster.phi), 2..=32);
        bounds("cluster.nodes_max", self.cluster.nodes_max as u64, 1..=1_000);
        bounds("c2s.negotiation_timeout", millis(c2s.negotiation_timeout), 1_000..=600_000);
        bounds("c2s.write_timeout", millis(c2s.write_timeout), 1_000..=3_600_000);
        let attempts = u64::from(c2s.authentication_attempts_max);
        bounds("c2s.authentication_attempts_max", attempts, 1..=100);
        bounds("c2s.connections_max", c2s.connections_max as u64, 1..=10_000_000);
        let per_address = &c2s.per_address;
        let connections = u64::from(per_address.connections_max);
        bounds("c2s.per_address.connections_max", connections, 1..=10_000_000);
        let attempts = u64::from(per_address.attempts_max);
        bounds("c2s.per_address.attempts_max", attempts, 1..=1_000_000);
        // RFC 6120 §13.12 wants 10,000 bytes at least
        let largest = 512 << 10;
        bounds("c2s.stanza_bytes_max", c2s.stanza_bytes_max.bytes() as u64, 10_000..=largest);
        let before = c2s.unauthenticated_bytes_max.bytes() as u64;
        bounds("c2s.unauthenticated_bytes_max", before, 4_096..=largest);
        let outbox = c2s.outbox_bytes_max.bytes() as u64;
        bounds("c2s.outbox_bytes_max", outbox, 16_384..=1 << 30);
        bounds("c2s.depth_max", u64::from(c2s.depth_max), 8..=1_000);
        bounds("c2s.attributes_max", u64::from(c2s.attributes_max), 8..=1_000);
        let sessions = self.session_manager.sessions_per_user_max as u64;
        bounds("session_manager.sessions_per_user_max", sessions, 1..=1_000);
        let kept = self.session_manager.offline_messages_max as u64;
        bounds("session_manager.offline_messages_max", kept, 0..=1_000_000);
        let kept = self.session_manager.offline_bytes_max.bytes() as u64;
        bounds("session_manager.offline_bytes_max", kept, 0..=1 << 30);
        bounds("im.roster_items_max", self.im.roster_items_max as u64, 1..=100_000);
        bounds("im.roster_name_bytes_max", self.im.roster_name_bytes_max as u64, 16..=10_000);
        bounds("im.roster_groups_max", self.im.roster_groups_max as u64, 1..=1_000);
        bounds("im.requests_max", self.im.requests_max as u64, 1..=10_000);
        let vcard = self.xep.vcard_bytes_max.bytes() as u64;
        bounds("xep.vcard_bytes_max", vcard, 1_024..=largest);
        let private = self.xep.private_bytes_max.bytes() as u64;
        bounds("xep.private_bytes_max", private, 1_024..=64 << 20);
        bounds("xep.private_elements_max", self.xep.private_elements_max as u64, 1..=10_000);
        bounds("xep.blocked_max", self.xep.blocked_max as u64, 1..=100_000);
        let shortest = self.register.password_characters_min as u64;
        bounds("register.password_characters_min", shortest, 1..=256);
        bounds("register.per_address_max", u64::from(self.register.per_address_max), 1..=1_000_000);
        let interval = millis(self.register.per_address_interval);
        bounds("register.per_address_interval", interval, 1_000..=30 * 86_400_000);
        for (key, value, allowed) in self.s2s.bounds().into_iter().chain(servers.bounds()) {
            bounds(key, value, allowed);
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log.level).is_err() {
            faults.push(("log.level", format!("{:?} is no level", self.log.level)));
        }
        faults.into_iter()
    }

    /// Relative paths become paths in `folder`.
    fn move_to(&mut self, folder: &Path) {
        let paths =
            [&mut self.server.data_dir, &mut self.cluster.cookie_file, &mut self.admin.socket];
        let files = self.tls.iter_mut().flat_map(|one| [&mut one.certificate, &mut one.key]);
        let roots = Some(&mut self.s2s_manager.roots).filter(|path| !path.as_os_str().is_empty());
        for path in paths.into_iter().chain(files).chain(roots) {
            *path = folder.join(&*path);
        }
        for path in components::files(self) {
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "s2s_manager.enabled = false\n[server]\ndomains = ['im']\n[c2s]\nrequire_tls = false\ndirect_tls_listen = []\n";

    fn load(text: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jabiru.toml");
        std::fs::write(&file, text).expect("written");
        let variables = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).into()).collect();
        Config::load(&[file], variables, &flags).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            lines.join("\n").replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[track_caller]
    fn check(more: &str, expected: &str) {
        let said = load(&format!("{GOOD}{more}"), &[], &[]).expect_err("it is wrong");
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check(
            "depth_max = 'x'",
            "jabiru.toml:7: c2s.depth_max: invalid type: string \"x\", expected u16",
        );
        check("depth_max = 1", "jabiru.toml:7: c2s.depth_max: 1 is not between 8 and 1000");
        check(
            "[cluster]\nseeds = ['a']",
            "jabiru.toml:8: cluster.seeds: \"a\": expected a host or an address with a port, as \"node1.example:4369\"",
        );
        check(
            "[session_manager]\nconflict = 'fight'",
            "jabiru.toml:8: session_manager.conflict: unknown variant `fight`, expected one of `replace`, `refuse`, `rename`",
        );
        for admin in ["x", "romeo@elsewhere", "romeo@im/orchard", "@"] {
            check(
                &format!("[admin]\nadmins = ['{admin}']"),
                &format!("jabiru.toml:8: admin.admins: {admin:?} is no account of our domains"),
            );
        }
        check(
            "[c2s.proxy_protocol]\nlisten = ['[::]:5222']",
            "jabiru.toml: c2s.proxy_protocol.trusted: nobody is trusted; name the networks of the load balancers, as \"10.0.0.0/8\"",
        );
        check(
            "[c2s.proxy_protocol]\nlisten = ['[::]:5222']\ntrusted = ['10.0.0/8']",
            "jabiru.toml:9: c2s.proxy_protocol.trusted: expected a network like \"10.0.0.0/8\", or an address",
        );
        check(
            "[c2s.per_address]\nattempts_max = 0",
            "jabiru.toml:8: c2s.per_address.attempts_max: 0 is not between 1 and 1000000",
        );
        check(
            "public_address = 'a b'",
            "jabiru.toml:7: c2s.public_address: expected a host or an address, with or without a port: \"node1.example.org:5222\"",
        );
        check(
            "[register]\npassword_characters_min = 0",
            "jabiru.toml:8: register.password_characters_min: 0 is not between 1 and 256",
        );
        let unknown =
            load(&format!("{GOOD}[cluster]\nseed = 'a:1'"), &[], &[]).expect_err("unknown");
        assert!(
            unknown
                .starts_with("jabiru.toml:8: cluster.seed: unknown field `seed`, expected one of"),
            "{unknown}"
        );
        let broken = load("[server", &[], &[]).expect_err("broken");
        assert!(broken.starts_with("jabiru.toml:1: "), "{broken}");
    }

    #[test]
    fn nothing_at_all_says_what_is_missing() {
        let said = load("", &[], &[]).expect_err("no domain");
        assert!(said.contains("server.domains: at least one domain"), "{said}");
        assert!(said.contains("tls: no certificate"), "{said}");
    }

    #[test]
    fn flags_go_over_the_environment_and_that_over_files() {
        let file = "[cluster]\nphi = 5\nnodes_max = 5\ngossip_interval = '50ms'\n";
        let text = format!("{GOOD}{file}");
        let environment = [
            ("JABIRU_CLUSTER__PHI", "6"),
            ("JABIRU_CLUSTER__NODES_MAX", "6"),
            ("JABIRU_COOKIE", "x"),
        ];
        let config = load(&text, &environment, &["cluster.phi=7"]).expect("fine");
        assert_eq!((config.cluster.phi, config.cluster.nodes_max), (7, 6));
        assert_eq!(config.cluster.gossip_interval, Span::millis(50));
        let config = load(&text, &[], &["log.level=debug"]).expect("a text needs no quotes");
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn a_wrong_variable_or_flag_is_named() {
        let said = load(GOOD, &[("JABIRU_CLUSTER__PHI", "x")], &[]).expect_err("wrong");
        assert_eq!(
            said,
            "JABIRU_CLUSTER__PHI: cluster.phi: invalid type: string \"x\", expected u8"
        );
        let said = load(GOOD, &[], &["cluster.phi=99"]).expect_err("wrong");
        assert_eq!(said, "--set cluster.phi=99: cluster.phi: 99 is not between 2 and 32");
    }

    #[test]
    fn paths_are_meant_from_the_folder_of_the_file() {
        let config = load(&format!("{GOOD}[cluster]\ncookie_file = 'x/cookie'"), &[], &[]);
        let path = config.expect("fine").cluster.cookie_file;
        assert!(path.is_absolute() && path.ends_with("x/cookie"), "{}", path.display());
    }
}
