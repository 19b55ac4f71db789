//! Servers that nobody here wrote: Prosody and ejabberd as Debian has them,
//! each on a host of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::world::{Papers, World, wait_for_port};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Prosody,
    Ejabberd,
}

impl Kind {
    /// What it serves.
    pub fn domain(self) -> &'static str {
        match self {
            Kind::Prosody => "prosody.test",
            Kind::Ejabberd => "ejabberd.test",
        }
    }

    /// Each knows its configuration by how the name ends.
    fn config_name(self) -> &'static str {
        match self {
            Kind::Prosody => "prosody.cfg.lua",
            Kind::Ejabberd => "ejabberd.yml",
        }
    }
}

/// How servers prove to it who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a certificate, and in no other way.
    External,
    /// By dialback, over TLS.
    Dialback,
    /// As the first, and one stream carries the stanzas of both.
    BothWays,
}

/// One of them.
pub struct Peer {
    pub kind: Kind,
    pub domain: &'static str,
    pub address: IpAddr,
    host: usize,
    folder: PathBuf,
    child: Option<Child>,
}

/// The people on each; the password of everybody is their name.
pub const PEOPLE: [&str; 2] = ["anna", "ben"];

impl Peer {
    /// Starts a server on this host.
    pub fn start(world: &World, host: usize, kind: Kind, papers: &Papers, proof: Proof) -> Peer {
        let domain = kind.domain();
        let folder = world.folder.path().join(domain);
        fs::create_dir_all(folder.join("data")).expect("writable");
        let address = world.address(host);
        let config = match kind {
            Kind::Prosody => prosody(&folder, domain, address, papers, &world.root(), proof),
            Kind::Ejabberd => ejabberd(domain, papers, &world.root(), proof),
        };
        fs::write(folder.join(kind.config_name()), config).expect("writable");
        let mut peer = Peer { kind, domain, address, host, folder, child: None };
        if kind == Kind::Prosody {
            peer.prosody_people(world);
        }
        peer.start_again(world);
        peer
    }

    /// Starts it as it was.
    pub fn start_again(&mut self, world: &World) {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("out"));
        let log = log.expect("writable");
        let mut command = match self.kind {
            Kind::Prosody => {
                let mut command = world.command(self.host, "prosody");
                command.arg("-F").arg("--config").arg(self.config());
                command
            }
            Kind::Ejabberd => self.erlang(world),
        };
        let child = command.stderr(log.try_clone().expect("a file")).stdout(log).spawn();
        self.child = Some(child.expect("it starts"));
        wait_for_port(&format!("{} serves clients", self.domain), self.address, 5223);
        wait_for_port(&format!("{} serves servers", self.domain), self.address, 5269);
        if self.kind == Kind::Ejabberd {
            wait_for_port("its people are there", self.address, 5280);
        }
    }

    /// As a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It stands still, or goes on.
    pub fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().is_ok_and(|end| end.success()));
    }

    /// Where its clients come in, by TLS.
    pub fn door(&self) -> SocketAddr {
        (self.address, 5223).into()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        ["out", "log"]
            .map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .concat()
    }

    fn config(&self) -> PathBuf {
        self.folder.join(self.kind.config_name())
    }

    fn prosody_people(&self, world: &World) {
        for name in PEOPLE {
            let mut command = world.command(self.host, "prosodyctl");
            command.args(["--root", "--config"]).arg(self.config());
            command.stdout(Stdio::piped());
            let done = command.args(["register", name, self.domain, name]).output();
            let done = done.expect("prosodyctl is there");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        }
    }

    /// ejabberd without the other nodes that it could have, and so without a
    /// port for them. It listens on 5280 when its people are there.
    fn erlang(&self, world: &World) -> Command {
        let people = PEOPLE.map(|name| {
            format!(
                "ejabberd_auth:try_register(<<\"{name}\">>,<<\"{}\">>,<<\"{name}\">>)",
                self.domain
            )
        });
        let ready = "gen_tcp:listen(5280,[{reuseaddr,true}])";
        // the socket is its process's: whoever opens it stays
        let stay = "receive stop -> ok end";
        let words = format!("spawn(fun()->{},{ready},{stay} end).", people.join(","));
        let mut command = world.command(self.host, "erl");
        command
            .args(["-noinput", "+K", "true", "-mnesia", "dir"])
            .arg(format!("\"{}\"", self.folder.join("data").display()))
            .args(["-s", "ejabberd", "-eval", &words])
            .env("EJABBERD_CONFIG_PATH", self.config())
            .env("EJABBERD_LOG_PATH", self.folder.join("log"))
            .env("ERL_CRASH_DUMP", self.folder.join("dump"))
            .env("ERL_LIBS", "/usr/lib/x86_64-linux-gnu")
            .env("HOME", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(200)..];
            eprintln!("--- last words of {}\n{}", self.domain, last.join("\n"));
        }
    }
}

fn prosody(
    folder: &Path,
    domain: &str,
    address: IpAddr,
    papers: &Papers,
    root: &Path,
    proof: Proof,
) -> String {
    let folder = folder.display();
    let (secure, more) = match proof {
        Proof::External => (true, ""),
        Proof::Dialback => (false, "\"dialback\";"),
        Proof::BothWays => (true, "\"s2s_bidi\";"),
    };
    format!(
        "run_as_root = true\nprosody_user = \"root\"\nprosody_group = \"root\"\n\
         daemonize = false\n\
         pidfile = \"{folder}/pid\"\ndata_path = \"{folder}/data\"\n\
         log = {{ debug = \"{folder}/log\" }}\n\
         interfaces = {{ \"{address}\" }}\n\
         c2s_direct_tls_ports = {{ 5223 }}\n\
         s2s_secure_auth = {secure}\ns2s_require_encryption = true\n\
         modules_enabled = {{ \"disco\"; \"roster\"; \"saslauth\"; \"tls\"; \"private\"; \
         \"vcard_legacy\"; \"pep\"; \"ping\"; \"smacks\"; {more} }}\n\
         {disabled}\
         authentication = \"internal_hashed\"\n\
         ssl = {{ certificate = {chain:?}; key = {key:?}; cafile = {root:?}; \
         capath = \"{folder}/data\" }}\n\
         VirtualHost \"{domain}\"\n",
        disabled =
            if proof != Proof::Dialback { "modules_disabled = { \"dialback\" }\n" } else { "" },
        chain = papers.chain,
        key = papers.key,
    )
}

fn ejabberd(domain: &str, papers: &Papers, root: &Path, proof: Proof) -> String {
    let dialback = match proof {
        // Debian's knows nothing of both ways
        Proof::External | Proof::BothWays => "",
        Proof::Dialback => "  mod_s2s_dialback: {}\n",
    };
    format!(
        "hosts:\n  - {domain}\nloglevel: info\n\
         certfiles:\n  - {:?}\nca_file: {root:?}\n\
         listen:\n\
         \x20 - {{ port: 5223, module: ejabberd_c2s, tls: true, shaper: none }}\n\
         \x20 - {{ port: 5269, module: ejabberd_s2s_in, shaper: none }}\n\
         s2s_use_starttls: required\nauth_method: internal\n\
         modules:\n  mod_disco: {{}}\n  mod_roster: {{}}\n  mod_offline: {{}}\n\
         \x20 mod_vcard: {{}}\n  mod_ping: {{}}\n  mod_last: {{}}\n  mod_private: {{}}\n{dialback}",
        papers.both,
    )
}
