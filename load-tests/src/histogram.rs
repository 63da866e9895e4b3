//! Latency distributions: recorded by many tasks, taken as exact buckets, merged over processes, read as percentiles or
//! as a curve.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that a histogram tells apart; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Significant digits of a histogram.
const DIGITS: u8 = 3;

/// A histogram that many tasks write to, split so that they seldom meet.
#[derive(Debug)]
pub struct Recorder {
    shards: Vec<Mutex<Histogram<u64>>>,
}

/// A distribution in microseconds. Empty: every figure is zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
    /// Every bucket that holds something: its value and its count, ascending. Distributions of several processes are
    /// merged from these, because percentiles cannot be averaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(u64, u64)>,
}

impl Default for Recorder {
    fn default() -> Self {
        const SHARDS: usize = 16;
        Self { shards: (0..SHARDS).map(|_| Mutex::new(new_histogram())).collect() }
    }
}

impl Recorder {
    /// `index` is any number that differs between tasks.
    pub fn record(&self, index: usize, micros: u64) {
        let shard = &self.shards[index % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros.clamp(1, LATENCY_US_MAX));
    }

    /// What was recorded since the last call.
    pub fn take(&self) -> Latency {
        let mut all = new_histogram();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // Both have the same bounds.
            all.add(&*shard).unwrap_or_default();
            shard.reset();
        }
        Latency::of(&all)
    }
}

impl Latency {
    /// The distribution of all that `parts` hold together.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = new_histogram();
        for (value, count) in parts.into_iter().flat_map(|part| &part.buckets) {
            // A bucket's value is within the bounds it was recorded with, which are ours.
            all.saturating_record_n(*value, *count);
        }
        Self::of(&all)
    }

    /// Points of the percentile curve, for a plot with the axis 1/(1 − q): quantile and microseconds, ascending.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let mut below = 0;
        let points = self.buckets.iter().map(|(value, count)| {
            below += count;
            (below as f64 / self.count as f64, *value)
        });
        points.collect()
    }

    /// Zero when empty.
    pub fn mean_us(&self) -> f64 {
        let sum: f64 = self.buckets.iter().map(|(value, count)| *value as f64 * *count as f64).sum();
        sum / self.count.max(1) as f64
    }

    fn of(histogram: &Histogram<u64>) -> Self {
        let buckets =
            histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_since_last_iteration()));
        Self {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            buckets: buckets.collect(),
        }
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_merges_its_shards_and_starts_over() {
        let recorder = Recorder::default();
        (1..=1000).for_each(|value| recorder.record(value as usize, value));
        let latency = recorder.take();
        assert_eq!((latency.count, latency.p50_us, latency.max_us), (1000, 500, 1000));
        assert_eq!(recorder.take(), Latency::default());
    }

    #[test]
    fn parts_merge_to_what_one_recorder_would_have_seen() {
        let (even, odd, all) = <(Recorder, Recorder, Recorder)>::default();
        for value in (1..200_000).step_by(7) {
            let part = if value % 2 == 0 { &even } else { &odd };
            part.record(value as usize, value);
            all.record(value as usize, value);
        }
        // As over a pipe.
        let parts: Vec<Latency> = [even.take(), odd.take()]
            .iter()
            .map(|part| serde_json::from_str(&serde_json::to_string(part).unwrap()).unwrap())
            .collect();
        assert_eq!(Latency::merged(&parts), all.take());
        assert_eq!(Latency::merged([]), Latency::default());
    }

    #[test]
    fn the_curve_rises_to_one() {
        let recorder = Recorder::default();
        [10, 20, 20, 40].into_iter().for_each(|value| recorder.record(0, value));
        let latency = recorder.take();
        assert_eq!(latency.curve(), [(0.25, 10), (0.75, 20), (1.0, 40)]);
        assert!((latency.mean_us() - 22.5).abs() < f64::EPSILON);
    }
}
