//! The PROXY protocol, versions 1 and 2, as a receiver reads it: the first
//! bytes of a connection in which a load balancer says whose it is
//! (<https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>).
//!
//! Who may say so is decided by whoever listens; so are time and sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{self, FromStr};

/// The longest line of version 1, with its end (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// The shortest header of either version: `PROXY UNKNOWN` and its end.
pub const HEADER_BYTES_MIN: usize = 15;

/// How version 2 begins (§2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2: signature, command, family, length (§2.2).
const FIXED_BYTES: usize = 16;

/// Addresses and additions of version 2. The format allows 65,535 bytes; what
/// balancers say (TLS names, a checksum, a zone) takes some hundred. A guess.
const VARIABLE_BYTES_MAX: usize = 2_048;

/// What is known of a header whose first bytes were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// At least so many more bytes belong to it; never 0.
    Needs(usize),
    /// It is whole: the connection is this client's.
    Client(SocketAddr),
    /// It is whole, and about no client: the balancer speaks for itself, or
    /// does not know (`LOCAL`, `UNKNOWN`, a family that is not of TCP/IP).
    Peer,
}

/// These bytes begin no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version begins so: most likely no header was sent.
    #[error("there is no PROXY protocol header")]
    Missing,
    /// It begins well, and is not as the specification wants it.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It is longer than we read.
    #[error("the PROXY protocol header is too long")]
    TooLong,
}

/// Looks at all bytes that were read so far: none of them lies behind the
/// header if never more than was needed was read.
///
/// # Errors
/// [`HeaderError`]: the connection is of no more use.
pub fn read(bytes: &[u8]) -> Result<Header, HeaderError> {
    if let Some(missing) = HEADER_BYTES_MIN.checked_sub(bytes.len()).filter(|missing| *missing > 0)
    {
        return Ok(Header::Needs(missing));
    }
    if let Some(rest) = bytes.strip_prefix(b"PROXY ") {
        return line(rest);
    }
    match bytes.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => Err(HeaderError::Missing),
    }
}

/// Version 1, behind its first word (§2.1).
fn line(rest: &[u8]) -> Result<Header, HeaderError> {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        let room = (LINE_BYTES_MAX - "PROXY ".len()).saturating_sub(rest.len());
        return match (rest.last(), room) {
            (_, 0) => Err(HeaderError::TooLong),
            (Some(b'\r'), _) | (_, 1) => Ok(Header::Needs(1)),
            _ => Ok(Header::Needs(2)),
        };
    };
    let text = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    if end + 1 != rest.len() {
        return Err(HeaderError::Malformed);
    }
    let text = text.and_then(|text| str::from_utf8(text).ok()).ok_or(HeaderError::Malformed)?;
    let mut words = text.split(' ');
    let source = match words.next() {
        // whatever follows is to be ignored
        Some("UNKNOWN") => return Ok(Header::Peer),
        Some("TCP4") => source::<Ipv4Addr>(words),
        Some("TCP6") => source::<Ipv6Addr>(words),
        _ => None,
    };
    source.map(Header::Client).ok_or(HeaderError::Malformed)
}

/// Both addresses, then both ports; the client's are the first of each.
fn source<'a, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let port = self::port(words.next()?)?;
    let _destination = self::port(words.next()?)?;
    words.next().is_none().then(|| SocketAddr::new(source.into().to_canonical(), port))
}

/// Digits alone, and no needless zero (§2.1).
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit())
        && (word.len() == 1 || !word.starts_with('0'));
    is_plain.then(|| word.parse().ok())?
}

/// Version 2, behind its signature (§2.2).
fn binary(rest: &[u8]) -> Result<Header, HeaderError> {
    let Some((fixed, variable)) = rest.split_first_chunk::<{ FIXED_BYTES - 12 }>() else {
        return Ok(Header::Needs(FIXED_BYTES - SIGNATURE.len() - rest.len()));
    };
    let [command, family, length @ ..] = *fixed;
    let length = usize::from(u16::from_be_bytes(length));
    if length > VARIABLE_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if command >> 4 != 2 || variable.len() > length {
        return Err(HeaderError::Malformed);
    }
    if variable.len() < length {
        return Ok(Header::Needs(length - variable.len()));
    }
    // additions behind the addresses say nothing that we need
    match (command & 0xF, family) {
        // our checks of ourselves: the addresses mean nothing
        (0, _) => Ok(Header::Peer),
        (1, 0x11) => of_ipv4(variable).map(Header::Client).ok_or(HeaderError::Malformed),
        (1, 0x21) => of_ipv6(variable).map(Header::Client).ok_or(HeaderError::Malformed),
        // unspecified, or of a socket on the balancer's own disk
        (1, 0x00 | 0x31) => Ok(Header::Peer),
        _ => Err(HeaderError::Malformed),
    }
}

fn of_ipv4(variable: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = variable.split_first_chunk::<4>()?;
    let (_destination, rest) = rest.split_first_chunk::<4>()?;
    ports(rest).map(|port| SocketAddr::from((*source, port)))
}

fn of_ipv6(variable: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = variable.split_first_chunk::<16>()?;
    let (_destination, rest) = rest.split_first_chunk::<16>()?;
    let source = IpAddr::from(*source).to_canonical();
    ports(rest).map(|port| SocketAddr::new(source, port))
}

/// The client's port, of both.
fn ports(rest: &[u8]) -> Option<u16> {
    let (ports, _additions) = rest.split_first_chunk::<4>()?;
    let [high, low, ..] = *ports;
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the driver does: never more than is needed.
    fn read_on(bytes: &[u8]) -> (Result<Header, HeaderError>, usize) {
        let mut end = 0;
        loop {
            match read(&bytes[..end]) {
                Ok(Header::Needs(more)) if end + more <= bytes.len() => end += more,
                other => return (other, end),
            }
        }
    }

    #[track_caller]
    fn check(header: &[u8], expected: Result<Header, HeaderError>) {
        let with_stream = [header, b"<stream:stream xmlns='jabber:client'>"].concat();
        let (read, end) = read_on(&with_stream);
        assert_eq!(read, expected, "{:?}", String::from_utf8_lossy(header));
        if read.is_ok() {
            assert_eq!(end, header.len(), "what is behind the header stays in the socket");
        }
    }

    fn client(address: &str) -> Result<Header, HeaderError> {
        Ok(Header::Client(address.parse().expect("an address")))
    }

    fn two(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let length = u16::try_from(variable.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family], &length, variable].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        use HeaderError::{Malformed, Missing, TooLong};
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 4000 5222\r\n", client("192.0.2.1:4000"));
        check(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", client("1.1.1.1:1"));
        check(b"PROXY TCP6 :: :: 1 1\r\n", client("[::]:1"));
        check(b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 5222\r\n", client("[2001:db8::1]:65535"));
        check(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4000 5222\r\n", client("192.0.2.1:4000"));
        check(b"PROXY UNKNOWN\r\n", Ok(Header::Peer));
        check(b"PROXY UNKNOWN ffff::ffff whatever\r\n", Ok(Header::Peer));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
        check(longest.as_bytes(), Ok(Header::Peer));
        check(longest.replace("UNKNOWN", "UNKNOWN ").as_bytes(), Err(TooLong));
        check(&[b"PROXY TCP4 ", [b'1'; 300].as_slice()].concat(), Err(TooLong));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 4000 5222\n", Err(Malformed));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 4000\r\n", Err(Malformed));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 4000 5222 1\r\n", Err(Malformed));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 04000 5222\r\n", Err(Malformed));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 +400 5222\r\n", Err(Malformed));
        check(b"PROXY TCP4 192.0.2.1 192.0.2.9 65536 5222\r\n", Err(Malformed));
        check(b"PROXY TCP4 192.0.2.1  192.0.2.9 40 5222\r\n", Err(Malformed));
        check(b"PROXY TCP4 2001:db8::1 ::1 4000 5222\r\n", Err(Malformed));
        check(b"PROXY TCP6 192.0.2.1 192.0.2.9 4000 5222\r\n", Err(Malformed));
        check(b"PROXY UDP4 192.0.2.1 192.0.2.9 4000 5222\r\n", Err(Malformed));
        check(b"proxy TCP4 192.0.2.1 192.0.2.9 4000 5222\r\n", Err(Missing));
        check(b"<?xml version='1.0'?>", Err(Missing));
        check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh", Err(Missing));
    }

    #[test]
    fn the_binary_header_names_the_client() {
        use HeaderError::{Malformed, TooLong};
        let four = [192, 0, 2, 1, 192, 0, 2, 9, 0x0F, 0xA0, 0x14, 0x66];
        check(&two(0x21, 0x11, &four), client("192.0.2.1:4000"));
        let added = [four.as_slice(), &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        check(&two(0x21, 0x11, &added), client("192.0.2.1:4000"));
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        let six = [source.octets().as_slice(), &[0; 16], &[0x0F, 0xA0, 0, 1]].concat();
        check(&two(0x21, 0x21, &six), client("[2001:db8::1]:4000"));
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().expect("an address");
        let six = [mapped.octets().as_slice(), &[0; 16], &[0x0F, 0xA0, 0, 1]].concat();
        check(&two(0x21, 0x21, &six), client("192.0.2.1:4000"));
        check(&two(0x20, 0x00, b""), Ok(Header::Peer));
        check(&two(0x20, 0x11, &four), Ok(Header::Peer));
        check(&two(0x21, 0x00, b""), Ok(Header::Peer));
        check(&two(0x21, 0x31, &[0; 216]), Ok(Header::Peer));
        check(&two(0x21, 0x11, &[0; VARIABLE_BYTES_MAX]), client("0.0.0.0:0"));
        check(&two(0x21, 0x11, &[0; VARIABLE_BYTES_MAX + 1]), Err(TooLong));
        check(&[SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(), Err(TooLong));
        check(&two(0x21, 0x11, &four[..11]), Err(Malformed));
        check(&two(0x21, 0x21, &[0; 35]), Err(Malformed));
        check(&two(0x21, 0x12, &four), Err(Malformed));
        check(&two(0x22, 0x11, &four), Err(Malformed));
        check(&two(0x11, 0x11, &four), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_fault_of_ours(
            start in prop_oneof![
                Just(b"".to_vec()), Just(b"PROXY TCP4 ".to_vec()), Just(b"PROXY TCP6 ".to_vec()),
                Just(b"PROXY UNKNOWN".to_vec()), Just(SIGNATURE.to_vec()),
                Just([SIGNATURE, &[0x21, 0x11, 0]].concat()),
                Just([SIGNATURE, &[0x21, 0x21, 0]].concat()),
            ],
            rest in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let bytes = [start, rest].concat();
            for end in 0..=bytes.len() {
                if let Ok(Header::Needs(more)) = read(&bytes[..end]) {
                    prop_assert!(more > 0);
                }
            }
            let (_, end) = read_on(&bytes);
            prop_assert!(end <= FIXED_BYTES + VARIABLE_BYTES_MAX);
        }
    }
}
