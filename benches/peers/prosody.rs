//! Debian's Prosody: one process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;

use crate::server::{DOMAIN, Service, command, kill, opens, write};
use crate::support::free_port;

/// The process.
pub struct Prosody {
    wrap: Vec<String>,
    folder: PathBuf,
    plain: u16,
    direct: u16,
    child: Option<Child>,
}

impl Prosody {
    pub fn start(wrap: Vec<String>, folder: &Path, chain: &Path, key: &Path) -> Prosody {
        let folder = folder.join("prosody");
        fs::create_dir_all(folder.join("data")).expect("writable");
        let (plain, direct) = (free_port(), free_port());
        let place = folder.display();
        let config = format!(
            "run_as_root = true\ndaemonize = false\n\
             pidfile = \"{place}/pid\"\ndata_path = \"{place}/data\"\n\
             log = {{ error = \"{place}/log\" }}\ninterfaces = {{ \"127.0.0.1\" }}\n\
             c2s_ports = {{ {plain} }}\nc2s_direct_tls_ports = {{ {direct} }}\ns2s_ports = {{}}\n\
             c2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n\
             allow_registration = true\nregistration_notification = \"\"\n\
             modules_enabled = {{ \"roster\"; \"saslauth\"; \"tls\"; \"disco\"; \"ping\"; \
             \"register\"; \"register_ibr\"; }}\n\
             modules_disabled = {{ \"s2s\" }}\n\
             authentication = \"internal_hashed\"\n\
             ssl = {{ certificate = {chain:?}; key = {key:?} }}\n\
             VirtualHost \"{DOMAIN}\"\n"
        );
        write(&folder.join("prosody.cfg.lua"), &config);
        let mut prosody = Prosody { wrap, folder, plain, direct, child: None };
        assert!(prosody.heal(), "Prosody does not start");
        prosody
    }
}

impl Service for Prosody {
    fn name(&self) -> &'static str {
        "Prosody"
    }

    fn pids(&self) -> Vec<u32> {
        self.child.iter().map(Child::id).collect()
    }

    fn doors(&self, tls: bool) -> Vec<SocketAddr> {
        vec![([127, 0, 0, 1], if tls { self.direct } else { self.plain }).into()]
    }

    fn heal(&mut self) -> bool {
        if self.child.is_none() {
            let mut prosody = command(&self.wrap, "prosody");
            prosody.arg("-F").arg("--config").arg(self.folder.join("prosody.cfg.lua"));
            self.child = Some(prosody.spawn().expect("prosody is there"));
        }
        opens(self.doors(false)[0])
    }

    fn kill_last(&mut self) {
        kill(&mut self.child);
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
