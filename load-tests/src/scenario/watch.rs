//! Looks at the server once a second while a scenario runs: memory and processor time of the process, its metrics, and
//! the canary. What it sees becomes the live line and the time series of the report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::canary::Pulse;
use crate::clock;
use crate::control::Api;
use crate::measure;
use crate::progress::Progress;
use crate::report::Series;
use crate::report::number::{number, quantity, short};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A server that hangs shows as a hole in the series, not as a wait.
const METRICS_TIMEOUT: Duration = Duration::from_millis(900);

/// What is watched. The process is another one after a restart.
#[derive(Debug, Default)]
pub struct Watched {
    pub pid: Option<u32>,
    pub api: Option<Api>,
    pub pulse: Option<Arc<Pulse>>,
    /// Whether the step that is under way counts connections.
    pub counts_from: Option<usize>,
}

/// Ends with its handle.
#[derive(Debug)]
pub struct Watch {
    watched: Arc<Mutex<Watched>>,
    columns: Arc<Mutex<Columns>>,
    task: JoinHandle<()>,
}

/// One series for each column, in the order of the report.
const TITLES: [(&str, &str); 8] = [
    ("memory of the server", "MiB"),
    ("processor time of the server", "% of a core"),
    ("connections", ""),
    ("joins", "/s"),
    ("join p99, by the server's buckets", "ms"),
    ("canary: ping p99", "ms"),
    ("records into the journal", "/s"),
    ("records not yet in Postgres", ""),
];

#[derive(Debug, Default)]
struct Columns([Vec<(f64, f64)>; TITLES.len()]);

/// What the last look saw, to take differences from.
#[derive(Debug)]
struct Last {
    at: Instant,
    pid: Option<u32>,
    cpu_us: Option<u64>,
    metrics: HashMap<String, f64>,
}

impl Watch {
    pub fn start(progress: Progress) -> Self {
        let (watched, columns) = (Arc::<Mutex<Watched>>::default(), Arc::<Mutex<Columns>>::default());
        let task = tokio::spawn(look_on(watched.clone(), columns.clone(), progress));
        Self { watched, columns, task }
    }

    pub fn with(&self, change: impl FnOnce(&mut Watched)) {
        change(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The series that say something: those that are zero throughout are left out.
    pub fn series(&self) -> Vec<Series> {
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        let named = TITLES.iter().zip(&columns.0);
        let telling = named.filter(|(_, points)| points.len() > 1 && points.iter().any(|point| point.1 != 0.0));
        telling
            .map(|((title, unit), points)| Series {
                title: (*title).to_owned(),
                unit: (*unit).to_owned(),
                points: points.clone(),
            })
            .collect()
    }
}

impl Watch {
    /// Looks no more.
    pub async fn stop(&mut self) {
        self.task.abort();
        // It ends with the news that it was aborted.
        (&mut self.task).await.unwrap_or_default();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look_on(watched: Arc<Mutex<Watched>>, columns: Arc<Mutex<Columns>>, progress: Progress) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last = Last { at: clock::now(), pid: None, cpu_us: None, metrics: HashMap::new() };
    loop {
        ticks.tick().await;
        let (pid, api, pulse, counts_from) = {
            let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            (watched.pid, watched.api.clone(), watched.pulse.clone(), watched.counts_from)
        };
        let metrics = match api {
            Some(api) => tokio::time::timeout(METRICS_TIMEOUT, api.metrics()).await.ok().and_then(Result::ok),
            None => None,
        };
        let now = clock::now();
        // A process that was replaced begins to count anew.
        if pid != last.pid {
            last = Last { at: now, pid, cpu_us: None, metrics: HashMap::new() };
        }
        let cpu_us = pid.and_then(|pid| measure::cpu_us(pid).ok());
        let memory = pid.and_then(|pid| measure::rss_anon_bytes(pid).ok());
        let row = row(&last, now, cpu_us, memory, metrics.as_ref(), pulse.as_deref());
        if let (Some(from), Some(connections)) = (counts_from, row[2]) {
            progress.count((connections as usize).saturating_sub(from));
        }
        if let Some(line) = live_line(&row) {
            progress.live(line);
        }
        let at_s = progress.elapsed_s();
        let mut columns = columns.lock().unwrap_or_else(PoisonError::into_inner);
        for (column, value) in columns.0.iter_mut().zip(row) {
            column.extend(value.filter(|value| value.is_finite()).map(|value| (short(at_s), short(value))));
        }
        last = Last { at: now, pid, cpu_us, metrics: metrics.unwrap_or_default() };
    }
}

fn row(
    last: &Last,
    now: Instant,
    cpu_us: Option<u64>,
    memory: Option<u64>,
    metrics: Option<&HashMap<String, f64>>,
    pulse: Option<&Pulse>,
) -> [Option<f64>; TITLES.len()] {
    let seconds = (now - last.at).as_secs_f64().max(0.001);
    let gauge = |name: &str| metrics.and_then(|metrics| metrics.get(name)).copied();
    // Only from one look to the next: after a look that failed nobody knows since when.
    let rise = |name: &str| Some((gauge(name)? - last.metrics.get(name)?).max(0.0) / seconds);
    let cpu = cpu_us.zip(last.cpu_us).map(|(now, before)| now.saturating_sub(before) as f64 / seconds / 10_000.0);
    [
        memory.map(|bytes| bytes as f64 / 1024.0 / 1024.0),
        cpu,
        gauge("rollcall_connections"),
        rise("rollcall_connections_opened"),
        metrics.and_then(|metrics| bucket_quantile(&last.metrics, metrics, 0.99)).map(|seconds| seconds * 1000.0),
        pulse.and_then(Pulse::second_p99_ms),
        rise("rollcall_ledger_records"),
        gauge("rollcall_journal_backlog_records"),
    ]
}

fn live_line(row: &[Option<f64>; TITLES.len()]) -> Option<String> {
    let [memory, cpu, connections, joins, join_p99, canary, records, backlog] = *row;
    let mut parts = vec![format!("{} connections", number(connections?))];
    let mut part = |value: Option<f64>, text: &dyn Fn(f64) -> String| parts.extend(value.map(text));
    part(joins.filter(|joins| *joins > 0.0), &|joins| format!("{} joins/s", number(joins.round())));
    part(join_p99, &|p99| format!("join p99 {}", quantity(p99, "ms")));
    part(canary, &|p99| format!("ping p99 {}", quantity(p99, "ms")));
    part(records.filter(|records| *records >= 1.0), &|records| format!("{} records/s", number(records.round())));
    part(backlog.filter(|backlog| *backlog > 0.0), &|backlog| format!("{} waiting", number(backlog)));
    part(memory, &|memory| quantity(memory, "MiB"));
    part(cpu, &|cpu| format!("{} % of a core", number(cpu.round())));
    Some(parts.join(" · "))
}

/// A quantile of what was observed between two looks, from the buckets of a Prometheus histogram: the upper bound of its
/// bucket, so rather too much than too little.
fn bucket_quantile(before: &HashMap<String, f64>, after: &HashMap<String, f64>, quantile: f64) -> Option<f64> {
    const PREFIX: &str = "rollcall_join_duration_seconds_bucket{le=\"";
    let mut buckets: Vec<(f64, f64)> = after
        .iter()
        .filter_map(|(name, count)| {
            let bound = name.strip_prefix(PREFIX)?.trim_end_matches("\"}");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count - before.get(name)?))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    buckets.into_iter().find(|(_, count)| *count >= total * quantile).map(|(bound, _)| bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let buckets = |counts: [f64; 3]| {
            let bounds = ["0.001", "0.004", "+Inf"];
            let name = |bound: &str| format!("rollcall_join_duration_seconds_bucket{{le=\"{bound}\"}}");
            bounds.into_iter().zip(counts).map(|(bound, count)| (name(bound), count)).collect::<HashMap<_, _>>()
        };
        let before = buckets([10.0, 10.0, 10.0]);
        assert_eq!(bucket_quantile(&before, &buckets([109.0, 110.0, 110.0]), 0.99), Some(0.001));
        assert_eq!(bucket_quantile(&before, &buckets([60.0, 110.0, 110.0]), 0.99), Some(0.004));
        assert_eq!(bucket_quantile(&before, &before, 0.99), None, "nothing was observed");
        assert_eq!(bucket_quantile(&HashMap::new(), &before, 0.99), None, "nobody knows since when");
    }

    #[test]
    fn a_live_line_says_what_is_known() {
        let row = [Some(41.96), Some(35.2), Some(12_340.0), Some(498.0), Some(4.0), None, Some(0.0), Some(0.0)];
        let line = live_line(&row).unwrap();
        assert_eq!(line, "12,340 connections · 498 joins/s · join p99 4 ms · 42.0 MiB · 35 % of a core");
        assert_eq!(live_line(&[None; 8]), None, "the server does not answer");
    }
}
