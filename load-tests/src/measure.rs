//! Figures: memory and processor time of a process, memory of the kernel.

use std::fs;

use anyhow::{Context, anyhow};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

pub use crate::histogram::{Latency, Recorder};

/// Private memory of a process in bytes: what it alone makes the machine spend.
///
/// # Errors
/// The process is gone.
pub fn rss_anon_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    kib_field(&status, "RssAnon:").map(|kib| kib * 1024)
}

/// User and system time that a process has used with all its threads, in microseconds. The kernel's clock of the process: the
/// fields in /proc/PID/stat move in hundredths of a second, and a short phase would cost nothing.
///
/// # Errors
/// The process is gone.
pub fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?)).context("the process is gone")?;
    let used = clock_gettime(clock).context("the process is gone")?;
    Ok(u64::try_from(used.num_microseconds())?)
}

/// The same of the thread that asks.
///
/// # Errors
/// No such clock.
pub fn thread_cpu_us() -> anyhow::Result<u64> {
    Ok(u64::try_from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.num_microseconds())?)
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
        // Less than a hundredth of a second shows. Other threads of this process may use more between two looks, so one
        // small step of many is enough.
        let looks: Vec<u64> = (0..1_000).map(|_| cpu_us(pid).unwrap()).collect();
        assert!(looks.windows(2).any(|pair| (1..10_000).contains(&(pair[1] - pair[0]))));
    }
}
