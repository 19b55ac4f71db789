//! A real load balancer with the configuration that we give to operators, its
//! names and ports replaced by those of the test.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Node, Nodes, free_port, wait_for};

/// A balancer that runs, and where its clients come in.
pub(crate) struct Balancer {
    child: Child,
    pub(crate) plain: u16,
    pub(crate) direct: u16,
    log: PathBuf,
}

/// Nodes that clients reach by balancers alone: where they listen for these.
pub(crate) struct Behind {
    pub(crate) nodes: Nodes,
    plain: Vec<u16>,
    direct: Vec<u16>,
}

impl Behind {
    pub(crate) fn start(count: usize, extra: &str) -> Behind {
        let mut nodes = Nodes::prepare(count, extra);
        let ports = || (0..count).map(|_| free_port()).collect::<Vec<_>>();
        let (plain, direct) = (ports(), ports());
        for (node, (plain, direct)) in nodes.list.iter_mut().zip(plain.iter().zip(&direct)) {
            let section = format!(
                "[c2s.proxy_protocol]\nlisten = [\"127.0.0.1:{plain}\"]\n\
                 direct_tls_listen = [\"127.0.0.1:{direct}\"]\ntrusted = [\"127.0.0.1\"]\n[cluster]"
            );
            node.configure("[cluster]", &section);
            node.start();
        }
        nodes.wait_until_all_agree();
        Behind { nodes, plain, direct }
    }

    pub(crate) fn haproxy(&self) -> Balancer {
        let (config, plain, direct) = self.config("haproxy.cfg", "bind :");
        let args = ["-db", "-f", config.to_str().expect("text")];
        self.run("haproxy", &args, plain, direct)
    }

    pub(crate) fn nginx(&self) -> Balancer {
        let (config, plain, direct) = self.config("nginx-stream.conf", "listen ");
        let pid = self.nodes.folder.path().join("nginx.pid");
        let directives = format!("daemon off; error_log stderr info; pid {};", pid.display());
        let config = config.to_str().expect("text");
        let args = ["-e", "stderr", "-c", config, "-g", &directives];
        self.run("nginx", &args, plain, direct)
    }

    /// Our configuration, for these nodes on this machine.
    fn config(&self, name: &str, bind: &str) -> (PathBuf, u16, u16) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let shipped = fs::read_to_string(shipped).expect("readable");
        let (plain, direct) = (free_port(), free_port());
        // no server comes here
        let (servers, direct_servers, nobody) = (free_port(), free_port(), free_port());
        let mut config = String::new();
        for line in shipped.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let mut line = line.to_owned();
            for (port, ours) in
                [(5222, plain), (5223, direct), (5269, servers), (5270, direct_servers)]
            {
                let place = format!("{} 127.0.0.1:{ours}", bind.trim_end_matches([' ', ':']));
                line = line.replace(&format!("{bind}{port}"), &place);
            }
            for (at, node) in self.nodes.list.iter().enumerate() {
                let host = format!("node{}.example.org", at + 1);
                if line.contains(&host) {
                    line = line
                        .replace(&format!("{host}:5222"), &format!("127.0.0.1:{}", self.plain[at]))
                        .replace(&format!("{host}:5223"), &format!("127.0.0.1:{}", self.direct[at]))
                        .replace(&format!("{host}:5269"), &format!("127.0.0.1:{nobody}"))
                        .replace(&format!("{host}:5270"), &format!("127.0.0.1:{nobody}"))
                        .replace("port 5280", &format!("port {}", node.ports.http));
                }
            }
            config += &line;
            config.push('\n');
        }
        for left in ["example.org", "5222", "5223", "5269", "5270", "5280"] {
            assert!(!config.contains(left), "{left} is left in {config}");
        }
        let path = self.nodes.folder.path().join(name);
        fs::write(&path, config).expect("writable");
        (path, plain, direct)
    }

    fn run(&self, program: &str, args: &[&str], plain: u16, direct: u16) -> Balancer {
        let log = self.nodes.folder.path().join(format!("{program}.log"));
        let file = fs::File::create(&log).expect("writable");
        // Debian keeps both where only root looks for programs
        let found = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"]
            .map(|folder| Path::new(folder).join(program))
            .into_iter()
            .find(|path| path.exists());
        let found = found.unwrap_or_else(|| {
            panic!("{program} is not installed: `scripts/test --setup` installs it")
        });
        let child = Command::new(found)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("it starts");
        let mut balancer = Balancer { child, plain, direct, log };
        wait_for(&format!("{program} listens"), || {
            let ended = balancer.child.try_wait().expect("it is ours");
            assert!(ended.is_none(), "{program}: {}", balancer.log());
            TcpStream::connect(("127.0.0.1", plain)).is_ok()
        });
        balancer
    }
}

impl Balancer {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// As if a node listened where the balancer does.
    pub(crate) fn as_node<'a>(&self, node: &'a mut Node) -> &'a Node {
        node.ports.plain = self.plain;
        node.ports.direct = self.direct;
        node
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // SIGTERM ends the workers of nginx with their master
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the balancer\n{}", self.log());
        }
    }
}
