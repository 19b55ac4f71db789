//! What processes have used of the machine.

use std::fs;

/// Clock ticks a second, as `/proc` counts; the same on every Linux.
const TICKS: f64 = 100.0;

/// Processor time and memory of some processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds of all cores, in user and kernel mode.
    pub cpu: f64,
    /// Resident bytes.
    pub memory: u64,
}

/// Of these together; those that have gone count nothing.
pub fn usage(pids: &[u32]) -> Usage {
    let mut sum = Usage::default();
    for pid in pids {
        sum.cpu += ticks(*pid).unwrap_or(0.0) / TICKS;
        sum.memory += resident(*pid).unwrap_or(0);
    }
    sum
}

/// Our own processor time: a load that needs more than a second of it for each
/// second measures itself.
pub fn own() -> f64 {
    ticks(std::process::id()).unwrap_or(0.0) / TICKS
}

fn ticks(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name may have spaces, and stands in brackets
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
