//! The world that servers find each other in: a host for each, and a name
//! server that all of them ask.

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::authority::{Authority, Shown};
use super::net::Stage;
use super::support::{Place, wait_for};

/// Where network namespaces find what stands in `/etc` for them alone.
const NETNS: &str = "/etc/netns";

/// What a server shows.
#[derive(Clone, Debug)]
pub struct Papers {
    /// Its certificate.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file, as ejabberd wants them.
    pub both: PathBuf,
}

/// Hosts, their names, and who vouches for them.
pub struct World {
    pub stage: Stage,
    pub authority: Authority,
    pub folder: TempDir,
    /// Files that go with this world.
    resolv: Vec<PathBuf>,
    names: Option<Child>,
}

impl World {
    /// So many hosts for servers, and one for names.
    pub fn build(hosts: usize) -> World {
        let stage = Stage::build(hosts + 1);
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        fs::write(folder.path().join("root.pem"), authority.pem()).expect("writable");
        let mut world = World { stage, authority, folder, resolv: Vec::new(), names: None };
        let name_server = format!("nameserver {}\n", world.stage.host(hosts));
        for at in 0..=hosts {
            let folder = PathBuf::from(NETNS).join(world.stage.space(at));
            fs::create_dir_all(&folder).expect("we are root");
            fs::write(folder.join("resolv.conf"), &name_server).expect("writable");
            world.resolv.push(folder);
        }
        world
    }

    /// What all servers trust.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A certificate for this name, as it is wanted.
    pub fn papers(&self, name: &str, shown: &Shown) -> Papers {
        self.papers_of(&self.authority, name, shown)
    }

    /// A good one, by an authority that nobody trusts.
    pub fn strange_papers(&self, name: &str) -> Papers {
        self.papers_of(&Authority::named("a stranger"), name, &Shown::Valid)
    }

    fn papers_of(&self, authority: &Authority, name: &str, shown: &Shown) -> Papers {
        let folder = authority.write(&self.folder.path().join("papers").join(name), name, shown);
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let text = |path: &PathBuf| fs::read_to_string(path).expect("readable");
        let both = folder.join("both.pem");
        fs::write(&both, text(&key) + &text(&chain)).expect("writable");
        Papers { chain, key, both }
    }

    /// Where a server runs.
    pub fn place(&self, at: usize) -> Place {
        self.stage.places().swap_remove(at)
    }

    /// The address of a host.
    pub fn address(&self, at: usize) -> IpAddr {
        self.stage.host(at).into()
    }

    /// From now on the hosts at `at` are those of `domain`, by SRV records
    /// and, as the domain itself, by an address record of the first.
    pub fn name(&mut self, domains: &[(&str, &[usize])]) {
        let mut words = vec![
            "--keep-in-foreground".to_owned(),
            "--no-resolv".to_owned(),
            "--no-hosts".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--pid-file=".to_owned(),
            "--user=root".to_owned(),
            "--local=/test/".to_owned(),
        ];
        for (domain, hosts) in domains {
            for at in *hosts {
                let (host, address) = (format!("h{at}.{domain}"), self.address(*at));
                words.push(format!("--srv-host=_xmpp-server._tcp.{domain},{host},5269,1,1"));
                words.push(format!("--host-record={host},{address}"));
            }
            words.push(format!("--host-record={domain},{}", self.address(hosts[0])));
        }
        self.forget_names();
        let at = self.resolv.len() - 1;
        let log = fs::File::create(self.folder.path().join("names.log")).expect("writable");
        let child = self.command(at, "dnsmasq").args(words).stderr(log).spawn();
        self.names = Some(child.expect("dnsmasq is there"));
        let address = (self.address(at), 53);
        wait_for("names are known", || TcpStream::connect(address).is_ok());
    }

    /// A command on one of the hosts.
    pub fn command(&self, at: usize, command: &str) -> Command {
        let place = self.place(at);
        let (first, rest) = place.wrap.split_first().expect("a namespace");
        let mut whole = Command::new(first);
        whole.args(rest).arg(command).stdin(Stdio::null()).stdout(Stdio::null());
        whole
    }

    fn forget_names(&mut self) {
        if let Some(mut names) = self.names.take() {
            let _ = names.kill();
            let _ = names.wait();
        }
    }
}

/// Waits until somebody listens there.
#[track_caller]
pub fn wait_for_port(what: &str, address: IpAddr, port: u16) {
    let there = (address, port).into();
    let second = Duration::from_secs(1);
    wait_for(what, || TcpStream::connect_timeout(&there, second).is_ok());
}

impl Drop for World {
    fn drop(&mut self) {
        self.forget_names();
        for folder in &self.resolv {
            let _ = fs::remove_dir_all(folder);
        }
    }
}
