//! What a domain says in DNS of the certificates of its server: the TLSA records
//! of a place, as far as DNSSEC has proved them (RFC 7673 §3).

use hickory_resolver::proto::rr::{RData, RecordType};

use crate::s2s_manager::dane::{RECORDS_MAX, Tlsa};
use crate::s2s_manager::place::Place;
use crate::s2s_manager::resolve::{Resolve, ResolveError};
use crate::xmpp::jid::Domain;

impl Resolve {
    /// The records of a place; none: its domain says nothing, or what it says is
    /// not proved.
    ///
    /// # Errors
    /// [`ResolveError`]: whether there are any is not known. Then that place is
    /// none to go to: somebody on the way may hide them (RFC 6698 §4.1).
    pub async fn tlsa(&self, domain: &Domain, place: &Place) -> Result<Vec<Tlsa>, ResolveError> {
        if !place.is_proved {
            return Ok(Vec::new());
        }
        let host = place.host.trim_end_matches('.');
        let name = format!("_{}._tcp.{host}.", place.port);
        let (found, is_proved) = self.look_up(domain, name, RecordType::TLSA).await?;
        if !is_proved {
            return Ok(Vec::new());
        }
        let record = |data| match data {
            RData::TLSA(record) => Some(Tlsa {
                usage: record.cert_usage.into(),
                selector: record.selector.into(),
                matching: record.matching.into(),
                association: record.cert_data,
            }),
            _ => None,
        };
        Ok(found.into_iter().filter_map(record).take(RECORDS_MAX).collect())
    }
}
