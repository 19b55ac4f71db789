//! A zone whose records are signed (DNSSEC), with one key for all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_resolver::proto::dnssec::{DnssecSigner, PublicKey, SigningKey};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};

/// Of all records.
pub const TTL: u32 = 60;

/// The zone, and who signs for it.
pub struct Zone {
    name: Name,
    signer: DnssecSigner,
}

impl Zone {
    pub fn new(name: &Name) -> Zone {
        let pkcs8 = Ed25519SigningKey::generate_pkcs8().expect("a key");
        let key = Ed25519SigningKey::from_pkcs8(&pkcs8).expect("a key");
        let dnskey = DNSKEY::from_key(&key.to_public_key().expect("a key"));
        let hour = std::time::Duration::from_secs(3_600);
        let signer = DnssecSigner::new(dnskey, Box::new(key), name.clone(), hour);
        Zone { name: name.clone(), signer }
    }

    /// Its key, as it stands in DNS.
    pub fn key(&self) -> RData {
        RData::DNSSEC(DNSSECRData::DNSKEY(self.signer.to_dnskey()))
    }

    /// Its key, as it stands in a file.
    pub fn anchor(&self) -> String {
        let dnskey = self.signer.dnskey();
        let key = STANDARD.encode(dnskey.public_key().public_bytes());
        format!("{} 3600 IN DNSKEY {} 3 15 {key}\n", self.name, dnskey.flags())
    }

    /// The signature of what it says of a name; nothing: it is none of its own.
    pub fn signature(&self, name: &Name, kind: RecordType, said: &[Record]) -> Option<Record> {
        if !self.name.zone_of(name) || said.is_empty() {
            return None;
        }
        let mut set = RecordSet::with_ttl(name.clone(), kind, TTL);
        for record in said {
            set.insert(record.clone(), 0);
        }
        let since = time::OffsetDateTime::now_utc() - time::Duration::minutes(10);
        let signature = RRSIG::from_rrset(&set, DNSClass::IN, since, &self.signer);
        let signature = DNSSECRData::RRSIG(signature.expect("signed"));
        Some(Record::from_rdata(name.clone(), TTL, RData::DNSSEC(signature)))
    }
}
