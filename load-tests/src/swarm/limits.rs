//! How many connections one process and this machine can hold, said before a run fails half-way.

use std::fs;

use anyhow::{bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files of a process that are not connections: pipes, the poller, room for libraries.
const OTHER_FILES: usize = 100;

/// More processes than this mean that the limit is wrong and not the count.
const PROCESSES_MAX: usize = 128;

/// Share of a source address's ports that may be taken before connecting becomes slow.
const PORTS_SHARE_MAX: f64 = 0.6;

/// Lets this process open as many files as it may without asking anybody.
///
/// # Errors
/// The system refuses.
pub fn raise() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}

/// Connections that each swarm process may hold.
///
/// # Errors
/// No such limit.
pub fn per_process() -> anyhow::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES).max(1))
}

/// How many swarm processes hold so many connections.
///
/// # Errors
/// More than this machine can hold; the text says what to change.
pub fn processes_for(connections: usize, sources: usize) -> anyhow::Result<usize> {
    let capacity = per_process()?;
    let processes = connections.div_ceil(capacity).max(1);
    if processes > PROCESSES_MAX {
        bail!(
            "{connections} connections need {processes} client processes, because each may open {} files; \
             raise the limit: ulimit -n {}",
            capacity + OTHER_FILES,
            connections.div_ceil(PROCESSES_MAX / 2) + OTHER_FILES
        );
    }
    let ports = local_ports(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default());
    let reach = (ports as f64 * PORTS_SHARE_MAX) as usize * sources;
    ensure!(
        connections <= reach,
        "{connections} connections to one server need more than the {ports} ports of {sources} addresses; \
         widen the range: sysctl net.ipv4.ip_local_port_range=\"1024 65535\""
    );
    Ok(processes)
}

fn local_ports(range: &str) -> usize {
    // Where the range is not to be read, the default of Linux.
    const DEFAULT: (usize, usize) = (32_768, 60_999);
    let mut ends = range.split_ascii_whitespace().filter_map(|end| end.parse().ok());
    let (first, last) = ends.next().zip(ends.next()).unwrap_or(DEFAULT);
    (last + 1).saturating_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_processes_and_says_what_is_too_much() {
        let capacity = per_process().unwrap();
        assert_eq!(processes_for(1, 64).unwrap(), 1);
        assert_eq!(processes_for(capacity + 1, 64).unwrap(), 2);
        let error = processes_for(capacity.saturating_mul(PROCESSES_MAX + 1), 64).unwrap_err().to_string();
        assert!(error.contains("ulimit -n"), "{error}");
        let error = processes_for(capacity.min(100_000), 0).unwrap_err().to_string();
        assert!(error.contains("ip_local_port_range"), "{error}");
    }

    #[test]
    fn reads_a_port_range() {
        assert_eq!(local_ports("1024\t65535\n"), 64_512);
        assert_eq!(local_ports(""), 28_232);
    }
}
