//! A name server that says what a test wants, by UDP and by TCP.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::servers::zone::{TTL, Zone};

/// The most bytes of an answer by UDP.
const DATAGRAM_BYTES_MAX: usize = 1232;

/// What is said to one question.
#[derive(Clone, Debug)]
pub enum Said {
    Records(Vec<RData>),
    /// SERVFAIL.
    Broken,
    /// Nothing at all.
    Silence,
    /// A record whose name says that it goes on where it begins.
    Ring,
}

type Table = Arc<Mutex<Told>>;

/// All that is said.
#[derive(Default)]
struct Told {
    said: HashMap<(String, RecordType), Said>,
    zone: Option<Zone>,
}

/// The name server; its threads end with the process.
pub struct Dns {
    pub port: u16,
    table: Table,
}

pub fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

pub fn srv(priority: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, 1, port, name(target)))
}

pub fn a(address: [u8; 4]) -> RData {
    RData::A(A(Ipv4Addr::from(address)))
}

pub fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

impl Dns {
    pub fn start() -> Dns {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let port = udp.local_addr().expect("bound").port();
            if let Ok(tcp) = TcpListener::bind(("127.0.0.1", port)) {
                break (udp, tcp);
            }
        };
        let port = udp.local_addr().expect("bound").port();
        let table = Table::default();
        let (one, other) = (Arc::clone(&table), Arc::clone(&table));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = answer(&one, &buffer[..length], DATAGRAM_BYTES_MAX) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        thread::spawn(move || {
            while let Ok((mut tcp, _)) = tcp.accept() {
                let table = Arc::clone(&other);
                thread::spawn(move || {
                    loop {
                        let mut length = [0; 2];
                        let Ok(()) = tcp.read_exact(&mut length) else { return };
                        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                        let Ok(()) = tcp.read_exact(&mut question) else { return };
                        let bytes_max = usize::from(u16::MAX);
                        let Some(bytes) = answer(&table, &question, bytes_max) else { return };
                        let length = u16::try_from(bytes.len()).expect("not so long");
                        let _ = tcp.write_all(&[&length.to_be_bytes()[..], &bytes].concat());
                    }
                });
            }
        });
        Dns { port, table }
    }

    /// What it says of a name from now on.
    pub fn says(&self, text: &str, kind: RecordType, said: Said) {
        let key = (text.to_owned() + ".", kind);
        self.table.lock().expect("no panic").said.insert(key, said);
    }

    /// Signs what it says of this zone from now on; gives back the key, for a
    /// file.
    pub fn signs(&self, text: &str) -> String {
        let zone = Zone::new(&name(&format!("{text}.")));
        self.says(text, RecordType::DNSKEY, Said::Records(vec![zone.key()]));
        let anchor = zone.anchor();
        self.table.lock().expect("no panic").zone = Some(zone);
        anchor
    }

    /// Records of services.
    pub fn service(&self, text: &str, records: Vec<RData>) {
        self.says(text, RecordType::SRV, Said::Records(records));
    }

    /// One address.
    pub fn address(&self, text: &str, address: [u8; 4]) {
        self.says(text, RecordType::A, Said::Records(vec![a(address)]));
    }
}

fn answer(table: &Table, question: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_query(query.clone());
    let key = (query.name().to_ascii().to_lowercase(), query.query_type());
    let table = table.lock().expect("no panic");
    match table.said.get(&key).cloned() {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Said::Broken) => answer.metadata.response_code = ResponseCode::ServFail,
        Some(Said::Silence) => return None,
        Some(Said::Ring) => return Some(ring(answer.to_vec().expect("bytes"))),
        Some(Said::Records(records)) => {
            let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
            let records: Vec<Record> = records.into_iter().map(record).collect();
            let zone = table.zone.as_ref();
            let kind = query.query_type();
            let signature = zone.and_then(|zone| zone.signature(query.name(), kind, &records));
            answer.add_answers(records.into_iter().chain(signature));
        }
    }
    let bytes = answer.to_vec().expect("bytes");
    if bytes.len() <= bytes_max {
        return Some(bytes);
    }
    answer.answers.clear();
    answer.metadata.truncation = true;
    Some(answer.to_vec().expect("bytes"))
}

/// An answer with one record of service, whose name is a pointer to itself
/// (RFC 1035 §4.1.4).
fn ring(mut answer: Vec<u8>) -> Vec<u8> {
    let [high, low] = u16::try_from(answer.len()).expect("not so long").to_be_bytes();
    // the number of answers
    answer[7] = 1;
    answer.extend([0xc0 | high, low]);
    // type, class, time to live, length, then a target that is the root
    answer.extend([0, 33, 0, 1, 0, 0, 0, 60, 0, 7, 0, 0, 0, 0, 0x14, 0x95, 0]);
    answer
}
