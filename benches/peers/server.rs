//! A service that is measured from outside: one server or several nodes, each
//! a process that may be bound to cores.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than it takes to start.
pub const START_TIME_MAX: Duration = Duration::from_secs(60);

/// The core of the servers, and the one of who measures.
pub const CORES: [&str; 2] = ["0", "1"];

/// The domain that all serve.
pub const DOMAIN: &str = "localhost";

/// A service of one or several nodes.
pub trait Service {
    /// How it is called in tables.
    fn name(&self) -> &'static str;
    /// Its processes, in order.
    fn pids(&self) -> Vec<u32>;
    /// Where clients come in without TLS, or with TLS from the first byte.
    fn doors(&self, tls: bool) -> Vec<SocketAddr>;
    /// Where the component `echo.localhost` comes in, where there is such a door.
    fn component_door(&self) -> Option<SocketAddr> {
        None
    }
    /// All processes run and agree; `false`: they do not come to it. Where what
    /// was cut off does not heal by itself, the last one starts anew.
    fn heal(&mut self) -> bool;
    /// Kills the last process.
    fn kill_last(&mut self);
}

/// The words before a command that bind it to a core.
pub fn bound(core: &str) -> Vec<String> {
    ["taskset", "-c", core].map(str::to_owned).to_vec()
}

/// Waits until somebody listens there.
pub fn wait_for_door(door: SocketAddr, name: &str) {
    assert!(opens(door), "{name} does not start");
}

/// Whether somebody listens there in time.
pub fn opens(door: SocketAddr) -> bool {
    let begin = Instant::now();
    while TcpStream::connect(door).is_err() {
        if begin.elapsed() > START_TIME_MAX {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A command with words before it.
pub fn command(wrap: &[String], name: &str) -> Command {
    let mut words = wrap.iter().map(String::as_str).chain([name]);
    let mut command = Command::new(words.next().expect("a command"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Ends a process of ours as a crash would.
pub fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Writes a file that others may read.
pub fn write(path: &Path, text: &str) {
    let mut file = std::fs::File::create(path).expect("writable");
    file.write_all(text.as_bytes()).expect("writable");
}
