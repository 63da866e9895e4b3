//! What the figures were measured on: hardware, kernel, and the settings of the system that move them.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// Settings of the kernel that decide how many connections come up, and how fast. Those that a kernel does not have are
/// left out.
const SETTINGS: &[&str] = &[
    "fs.epoll.max_user_watches",
    "fs.file-max",
    "fs.nr_open",
    "kernel.pid_max",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_child_ehash_entries",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub memory_gib: f64,
    pub kernel: String,
    pub open_files_max: u64,
    /// Over 1, 5 and 15 minutes, before the run: what else the machine did.
    pub load_average: String,
    pub settings: BTreeMap<String, String>,
}

impl Machine {
    pub fn describe() -> Self {
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory_kib: f64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            memory_gib: (memory_kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            open_files_max: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
            load_average: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            settings: SETTINGS.iter().filter_map(|name| Some(((*name).to_owned(), setting(name)?))).collect(),
        }
    }

    /// One line.
    pub fn summary(&self) -> String {
        format!(
            "{} cores, {}, {} GiB, Linux {}, {} open files, load {}",
            self.cores, self.cpu, self.memory_gib, self.kernel, self.open_files_max, self.load_average
        )
    }

    /// What differs so much from `other` that figures of both are hard to compare.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("cores", self.cores.to_string(), other.cores.to_string()),
            ("processor", self.cpu.clone(), other.cpu.clone()),
            ("kernel", self.kernel.clone(), other.kernel.clone()),
        ];
        let differ = |(name, old, new): (&str, String, String)| (old != new).then(|| format!("{name}: {old}, {new}"));
        pairs.into_iter().filter_map(differ).collect()
    }
}

/// A setting of the kernel by its dotted name.
pub fn setting(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_and_ports() {
        let machine = Machine::describe();
        assert!(machine.cores > 0 && machine.memory_gib > 0.0 && !machine.kernel.is_empty());
        assert!(machine.settings.contains_key("net.ipv4.ip_local_port_range"));
        assert_eq!(machine.differences(&machine), Vec::<String>::new());
        let other = Machine { cores: machine.cores + 1, ..machine.clone() };
        assert_eq!(machine.differences(&other).len(), 1);
    }
}
