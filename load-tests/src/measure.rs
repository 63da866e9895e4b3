//! Figures: memory and processor time of a process, memory of the kernel.

use std::fs;

use anyhow::{Context, anyhow};

pub use crate::histogram::{Latency, Recorder};

/// Private memory of a process in bytes: what it alone makes the machine spend.
///
/// # Errors
/// The process is gone.
pub fn rss_anon_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    kib_field(&status, "RssAnon:").map(|kib| kib * 1024)
}

/// User and system time that a process has used, in microseconds. The kernel counts in hundredths of a second.
///
/// # Errors
/// The process is gone.
pub fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    const TICK_US: u64 = 10_000;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name of the program may hold spaces; fields are counted after its closing bracket.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(|| anyhow!("unreadable stat"))?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or_else(|| anyhow!("unreadable stat"))?;
    Ok((user + system) * TICK_US)
}

/// Memory of the kernel's own objects (sockets, files, epoll entries) on the whole machine, in bytes.
///
/// # Errors
/// No /proc.
pub fn kernel_slab_bytes() -> anyhow::Result<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo")?, "Slab:").map(|kib| kib * 1024)
}

/// The processes whose parent is `pid`.
///
/// # Errors
/// No /proc.
pub fn children_of(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while the list is walked.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        if parent == Some(pid) {
            children.push(child);
        }
    }
    Ok(children)
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

fn kib_field(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|value| value.parse().ok());
    value.ok_or_else(|| anyhow!("no field {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_is_between() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(rss_anon_bytes(pid).unwrap() > 0);
        cpu_us(pid).unwrap();
    }
}
