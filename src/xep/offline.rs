//! Offline messages (XEP-0160): the host says that it keeps them. Which, is
//! decided in `session_manager/hints`; they lie in `session_manager/offline`.

use async_trait::async_trait;

use crate::extension::{About, Extension};

/// The extension.
#[derive(Debug)]
pub struct Offline;

#[async_trait]
impl Extension for Offline {
    fn about(&self) -> About {
        About {
            specification: "XEP-0160: Best Practices for Handling Offline Messages",
            // XEP-0160 §4: a name and no namespace
            host_features: &["msgoffline"],
            ..About::default()
        }
    }
}
