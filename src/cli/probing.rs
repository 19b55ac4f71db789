//! `jabiru check dns` and `jabiru check s2s`: how another server is reached
//! from this machine, step by step, in words. No node need run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::cli::Exit;
use crate::config::Config;
use crate::net::outbox::Outbox;
use crate::net::peer_tls::Secured;
use crate::net::tls::Certificates;
use crate::s2s_manager::certificate::Roots;
use crate::s2s_manager::dane::{Fit, Tlsa};
use crate::s2s_manager::outgoing::{Dial, Done, Established, Seen};
use crate::s2s_manager::place::Place;
use crate::s2s_manager::resolve::Resolve;
use crate::s2s_manager::trust::Trust;
use crate::server::{chain, checked};
use crate::stream::ack::Acks;
use crate::stream::server::Pair;
use crate::stream::server::outgoing::Purpose;
use crate::xmpp::jid::Domain;

/// How long the other server may take for our last words. A guess.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// `jabiru check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(subcommand)]
    pub(super) what: Option<What>,
}

/// What is checked besides the configuration.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Where the servers of a domain are, by DNS or by the configuration.
    Dns {
        /// Theirs.
        domain: String,
    },
    /// Whether this machine can speak with the server of a domain: connects,
    /// and shows each step and what it knows of the certificate.
    S2s {
        /// Theirs.
        domain: String,
        /// For which domain of ours; without it the first.
        #[arg(long, value_name = "DOMAIN")]
        from: Option<String>,
    },
}

/// Looks, and says what is seen.
pub fn probe(what: &What, config: Config) -> Exit {
    let (What::Dns { domain } | What::S2s { domain, .. }) = what;
    let Ok(theirs) = Domain::parse(domain) else {
        eprintln!("jabiru: {domain:?} is not a domain");
        return Exit::Usage;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let probed = runtime.block_on(async {
        match what {
            What::Dns { .. } => look_up(&config, &theirs).await,
            What::S2s { from, .. } => connect(config, theirs, from.as_deref()).await,
        }
    });
    match probed {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("jabiru: {error:#}");
            Exit::Failed
        }
    }
}

async fn look_up(config: &Config, theirs: &Domain) -> anyhow::Result<()> {
    let rules = rules(config)?;
    let resolve = Resolve::new(&rules)?;
    if rules.hosts.contains_key(theirs.as_str()) {
        println!("{theirs}: the configuration says where ([s2s_manager.hosts])");
    }
    let places = resolve.places(theirs).await?;
    let mut is_reachable = false;
    for place in &places {
        match resolve.addresses(theirs, place).await {
            Ok(addresses) => {
                is_reachable = true;
                println!("{}", found(place, &addresses));
                match resolve.tlsa(theirs, place).await {
                    Ok(_) if !rules.dane => {}
                    Ok(records) => named(place, &records),
                    Err(error) => println!("  its TLSA records: {}", chain(&error)),
                }
            }
            Err(error) => println!("{place}: {}", chain(&error)),
        }
    }
    match is_reachable {
        true => Ok(()),
        false => Err(anyhow::anyhow!("{theirs}: there is no place where its server can be")),
    }
}

async fn connect(config: Config, theirs: Domain, from: Option<&str>) -> anyhow::Result<()> {
    let domains = config.domains();
    let ours = match from {
        Some(from) => domains.iter().find(|domain| domain.as_str() == from),
        None => domains.first(),
    };
    let ours = ours.ok_or_else(|| anyhow::anyhow!("{from:?} is no domain of ours"))?.clone();
    let rules = rules(&config)?;
    let policy = rules.policy(&theirs);
    let policy = policy.ok_or_else(|| anyhow::anyhow!("{theirs}: the configuration forbids it"))?;
    let limit = rules.queue_time_max.get();
    let resolve = Arc::new(Resolve::new(&rules)?);
    let roots = Roots::read(&rules.roots)?;
    println!("{} roots are trusted", roots.count());
    let certificates = Arc::new(Certificates::read(config.tls.clone())?);
    let serves = Arc::new(move |domain: &str| domains.iter().any(|one| one.as_str() == domain));
    let trust = Trust::new(rules, certificates, checked::ring(&config)?, roots, serves);
    let (heard, seen) = unbounded_channel();
    let pair = Pair { ours, theirs: theirs.clone() };
    let dial = Dial {
        trust: Arc::clone(&trust),
        resolve,
        pair,
        policy,
        purpose: Purpose::Stanzas,
        previous: None,
        heard: Some(heard),
    };
    let begun = Instant::now();
    let telling = tokio::spawn(tell(seen, trust, theirs.clone(), begun));
    let dialed = timeout(limit, dial.connect::<()>()).await;
    drop(dial);
    telling.await?;
    let established = dialed.map_err(|_| anyhow::anyhow!("it takes longer than {limit:?}"))??;
    let Established { mut connection, done, .. } = established;
    if let Done::Proved(proof, acks) = done {
        let millis = begun.elapsed().as_millis();
        println!("{millis} ms: it believes who we are, by {}", proof.word());
        let acks = if acks == Acks::Offered { ", and are acknowledged" } else { "" };
        println!("{theirs}: stanzas may be sent{acks}");
    }
    let words = Outbox::new(0);
    words.finish("</stream:stream>".into());
    let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&words)).await;
    let _ = timeout(FAREWELL_TIME_MAX, connection.shutdown()).await;
    Ok(())
}

async fn tell(
    mut seen: UnboundedReceiver<Seen>,
    trust: Arc<Trust>,
    theirs: Domain,
    begun: Instant,
) {
    while let Some(step) = seen.recv().await {
        let millis = begun.elapsed().as_millis();
        match step {
            Seen::Addresses(place, addresses) => println!("{}", found(&place, &addresses)),
            Seen::Named(records) => named_in_words(&records),
            Seen::Judged(fit) => match fit {
                Fit::Unsaid => {}
                Fit::Named => println!("  a TLSA record names it: nobody else need sign it"),
                Fit::Vouched => println!("  it is as a TLSA record wants it"),
                Fit::Refused => println!("  it is not as any of the TLSA records wants it"),
            },
            Seen::Connected(address) => println!("{millis} ms: connected with {address}"),
            Seen::Secured(secured) => {
                println!("{millis} ms: {} {}", secured.version, secured.cipher);
                certificate(&trust, &secured, &theirs);
            }
            Seen::Failed(place, error) => println!("{place}: {}", chain(&error)),
        }
    }
}

fn certificate(trust: &Trust, secured: &Secured, theirs: &Domain) {
    for one in secured.chain.iter() {
        println!("  {}", in_words(one));
    }
    match trust.vouch(secured, theirs) {
        Ok(()) => println!("  it speaks for {theirs}"),
        Err(doubt) => println!("  it does not speak for {theirs}: {}", chain(&doubt)),
    }
}

/// Of whom, by whom, and until when.
fn in_words(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return "a certificate that cannot be read".to_owned();
    };
    let names = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<String> = names
        .map(|names| names.value.general_names.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    let until = parsed.validity().not_after;
    format!(
        "{} [{}], signed by {}, until {until}",
        parsed.subject(),
        names.join(", "),
        parsed.issuer()
    )
}

/// What a place has in DNS of its certificate.
fn named(place: &Place, records: &[Tlsa]) {
    let what = match (place.is_proved, records.is_empty()) {
        (false, _) => "no DNSSEC proves that its domain names it: TLSA records do not count",
        (true, true) => "DNSSEC proves it, and no TLSA record: its certificate counts alone",
        (true, false) => "DNSSEC proves it, and these TLSA records",
    };
    println!("  {what}");
    named_in_words(records);
}

fn named_in_words(records: &[Tlsa]) {
    records.iter().for_each(|record| println!("  TLSA {}", record.in_words()));
}

fn found(place: &Place, addresses: &[std::net::SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("{place}: {}", addresses.join(", "))
}

fn rules(config: &Config) -> anyhow::Result<crate::s2s_manager::config::Config> {
    let rules = config.s2s_manager.clone().normal();
    rules.map_err(|(key, text)| anyhow::anyhow!("{key}: {text:?} is not a domain"))
}

fn failed(error: &dyn std::error::Error) -> Exit {
    eprintln!("jabiru: {}", chain(error));
    Exit::Failed
}
