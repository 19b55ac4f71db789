//! Those who are not served: each is counted, and now and then the log says how
//! many there were.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tracing::{debug, warn};

use crate::cluster::notice::Notice;
use crate::metrics;

/// The strangers of one door.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Who comes by it: `clients`.
    whose: &'static str,
    metric: &'static str,
    notice: Mutex<Notice>,
}

impl Strangers {
    /// Nobody yet. They are counted as `metric`, by reason.
    pub(super) fn new(whose: &'static str, metric: &'static str) -> Self {
        Self { whose, metric, notice: Mutex::default() }
    }

    /// One more is not served; `reason` is what it is counted by, `error` what
    /// people read.
    pub(super) fn note(&self, reason: &'static str, address: SocketAddr, error: &dyn Display) {
        metrics::count(self.metric, reason);
        debug!(whose = self.whose, %address, %error, "a connection is not served");
        let mut notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = notice.say() {
            warn!(whose = self.whose, count, last = %address, %error, "connections were not served");
        }
    }
}
