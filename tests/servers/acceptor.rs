//! A server that another one comes to, and that says what it likes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::servers::stranger::{SASL, TLS};

/// One stream that has come.
pub struct Accepted(StreamOwned<ServerConnection, TcpStream>);

fn opened(from: &str, to: &str, features: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' id='x' from='{from}' to='{to}' version='1.0'>\
         <stream:features>{features}</stream:features>"
    )
}

/// The next stream, up to the proof of who has come; the first features are
/// offered before it, beside a certificate, the second behind it.
pub fn accept(
    listener: &TcpListener,
    folder: &Path,
    (ours, theirs): (&str, &str),
    (before, behind): (&str, &str),
) -> Accepted {
    let external =
        format!("<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>{before}");
    let Accepted(mut stream) = secured(listener, folder, (ours, theirs), &external);
    read_until(&mut stream, "</auth>");
    stream.write_all(format!("<success xmlns='{SASL}'/>").as_bytes()).expect("written");
    read_until(&mut stream, "version='1.0'>");
    stream.write_all(opened(ours, theirs, behind).as_bytes()).expect("written");
    Accepted(stream)
}

/// The next stream, up to TLS; `features` are offered then.
pub fn secured(
    listener: &TcpListener,
    folder: &Path,
    (ours, theirs): (&str, &str),
    features: &str,
) -> Accepted {
    let (mut tcp, _) = listener.accept().expect("somebody comes");
    tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    read_until(&mut tcp, "version='1.0'>");
    let tls = format!("<starttls xmlns='{TLS}'/>");
    tcp.write_all(opened(ours, theirs, &tls).as_bytes()).expect("written");
    read_until(&mut tcp, "<starttls");
    tcp.write_all(format!("<proceed xmlns='{TLS}'/>").as_bytes()).expect("written");
    let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).expect("PEM");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let connection = ServerConnection::new(Arc::new(config)).expect("TLS");
    let mut stream = StreamOwned::new(connection, tcp);
    read_until(&mut stream, "version='1.0'>");
    stream.write_all(opened(ours, theirs, features).as_bytes()).expect("written");
    Accepted(stream)
}

#[track_caller]
fn read_until(stream: &mut impl Read, end: &str) -> String {
    let mut heard = Vec::new();
    let mut byte = [0];
    loop {
        let text = String::from_utf8_lossy(&heard);
        // a tag is heard to its end
        if text.ends_with('>') && text.contains(end) {
            return text.into_owned();
        }
        match stream.read(&mut byte) {
            Ok(1) => heard.push(byte[0]),
            other => panic!("{other:?}; heard {text:?}, waited for {end:?}"),
        }
    }
}

impl Accepted {
    pub fn say(&mut self, words: &str) {
        self.0.write_all(words.as_bytes()).expect("written");
    }

    #[track_caller]
    pub fn hear(&mut self, end: &str) -> String {
        read_until(&mut self.0, end)
    }
}
