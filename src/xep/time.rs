//! Entity time (XEP-0202), of the host, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::TIME;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Time;

#[async_trait]
impl Extension for Time {
    fn about(&self) -> About {
        About {
            specification: "XEP-0202: Entity Time",
            host_features: &[TIME],
            requests: &[TIME],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        if cx.place != Place::Host {
            return Err(StanzaCondition::ServiceUnavailable.into());
        }
        match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "time" => {
                let utc = utc(cx.now);
                Ok(format!("<time xmlns='{TIME}'><tzo>+00:00</tzo><utc>{utc}</utc></time>").into())
            }
            _ => Err(StanzaCondition::BadRequest.into()),
        }
    }
}

/// The moment as XEP-0082 writes it, to the second.
pub fn utc(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970 (Gregorian, counted in eras of 400
/// years that begin with March).
fn civil(days: u64) -> (u64, u64, u64) {
    let since_era = days + 719_468;
    let (era, day_of_era) = (since_era / 146_097, since_era % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_709_164_800, "2024-02-29T00:00:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(1_795_516_496, "2026-11-24T10:34:56Z");
    }
}
