//! Where a server is: a host or an address, a port, and whether TLS begins at
//! once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Whether TLS begins with the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// Plain first; the stream changes to TLS.
    StartTls,
    /// TLS at once (XEP-0368).
    DirectTls,
}

/// Where a server is: `host:port` or `tls://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS begins at once.
    pub start: Start,
    /// Whether DNSSEC has proved that its domain names it.
    pub is_proved: bool,
}

/// A text that is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a place like \"192.0.2.1:5269\", or \"tls://192.0.2.1:5270\" for TLS at once")]
pub struct NoPlace;

impl Place {
    /// Its address, if it needs no looking up.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (start, rest) = match text.strip_prefix("tls://") {
            Some(rest) => (Start::DirectTls, rest),
            None => (Start::StartTls, text),
        };
        let (host, port) = rest.rsplit_once(':').ok_or(NoPlace)?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(NoPlace)?;
        let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'));
        let host =
            host.filter(|host| !host.is_empty() && !host.contains(['/', ' '])).ok_or(NoPlace)?;
        if host.contains(':') && host.parse::<IpAddr>().is_err() {
            return Err(NoPlace);
        }
        Ok(Self { host: host.to_owned(), port, start, is_proved: false })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.start == Start::DirectTls { "tls://" } else { "" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for text in ["192.0.2.1:5269", "tls://[2001:db8::1]:5270", "xmpp.example:1", "[::1]:5269"] {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(text.into()));
        }
        for text in ["", "a", "a:", "a:0", ":1", "a:70000", "2001:db8::1", "http://a:1", "[a]b:1"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
