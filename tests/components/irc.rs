//! biboumi, a gateway to IRC, and ngircd, an IRC server, both from Debian.

#![allow(unreachable_pub)]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::{self, Node};

/// Processes that end with this.
pub struct Irc {
    children: Vec<Child>,
    /// Where the IRC server is; its port is always the same.
    pub host: String,
}

/// biboumi knows no other unless each user tells it.
const PORT: u16 = 6_667;

impl Irc {
    /// An IRC server, and a gateway to it that comes to this node as
    /// `irc.localhost`.
    pub fn start(folder: &Path, node: &Node, secret: &str) -> Irc {
        // an address of its own in the network of this machine, so that no two
        // tests meet
        let id = std::process::id();
        let host = format!("127.66.{}.{}", id / 250 % 250 + 1, id % 250 + 1);
        let server = folder.join("ngircd.conf");
        fs::write(
            &server,
            format!(
                "[Global]\nName = irc.test\nInfo = a test\nListen = {host}\nPorts = {PORT}\n\
                 [Options]\nDNS = no\nIdent = no\nPAM = no\n[Limits]\nMaxConnectionsIP = 0\n"
            ),
        )
        .expect("writable");
        let gateway = folder.join("biboumi.cfg");
        let database = folder.join("biboumi.sqlite");
        let log = folder.join("biboumi.log");
        fs::write(
            &gateway,
            format!(
                "hostname=irc.localhost\npassword={secret}\nxmpp_server_ip={}\nport={}\n\
                 db_name={}\nlog_file={}\nlog_level=0\nidentd_port=0\n",
                node.place.host,
                node.ports.component,
                database.display(),
                log.display()
            ),
        )
        .expect("writable");
        let mut irc = Irc { children: Vec::new(), host: host.clone() };
        irc.run(Command::new("/usr/sbin/ngircd").arg("-n").arg("-f").arg(server));
        support::wait_for("the IRC server listens", || {
            TcpStream::connect((host.as_str(), PORT)).is_ok()
        });
        irc.run(Command::new("biboumi").arg(gateway));
        irc
    }

    fn run(&mut self, command: &mut Command) {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(quiet.spawn().expect("it is installed"));
    }
}

impl Drop for Irc {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
