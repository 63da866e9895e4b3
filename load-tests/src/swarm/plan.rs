//! When clients send: a schedule that does not depend on answers.

use std::time::Duration;

use tokio::time::Instant;

use super::messages::Pace;
use crate::clock;

/// What a client does, and when: client `i` sends at `start + interval * (i / connections) + k * interval`.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub what: What,
    pub start: Instant,
    pub interval: Duration,
    /// Nothing is scheduled at or after this.
    pub end: Instant,
    /// Of all processes of the swarm.
    pub connections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Nothing,
    Ping,
    Update,
    /// The next ping when the last is answered, of clients below `connections`.
    Chase,
}

impl Plan {
    pub fn silent() -> Self {
        let now = clock::now();
        Self { what: What::Nothing, start: now, interval: Duration::from_secs(3600), end: now, connections: 1 }
    }

    pub fn new(pace: Pace, connections: usize, start: Instant, duration: Duration) -> Self {
        let (what, per_s, connections) = match pace {
            Pace::Silent => (What::Nothing, 1.0, connections),
            Pace::Pings { per_s } => (What::Ping, per_s, connections),
            Pace::Updates { per_s } => (What::Update, per_s, connections),
            Pace::Saturate { connections } => (What::Chase, 1.0, connections),
        };
        let connections = connections.max(1);
        let interval = Duration::from_secs_f64(connections as f64 / per_s);
        Self { what, start, interval, end: start + duration, connections }
    }

    pub fn first(&self, index: usize) -> Option<Instant> {
        match self.what {
            What::Chase => (index < self.connections).then_some(self.start),
            _ => self.keep(self.start + self.interval.mul_f64(self.fraction(index))),
        }
    }

    /// The first send of a client that comes while the plan is under way: what was due before was not its to send.
    pub fn first_from(&self, index: usize, now: Instant) -> Option<Instant> {
        let first = self.first(index).filter(|_| self.what != What::Chase)?;
        let missed = now.saturating_duration_since(first).as_secs_f64() / self.interval.as_secs_f64();
        self.keep(first + self.interval.mul_f64(missed.ceil()))
    }

    pub fn after(&self, at: Instant) -> Option<Instant> {
        // A chase goes on when the answer is there.
        (self.what != What::Chase).then(|| self.keep(at + self.interval)).flatten()
    }

    /// How many sends of one client are scheduled: of a chase only the first.
    pub fn sends(&self, index: usize) -> u64 {
        let Some(first) = self.first(index) else { return 0 };
        if self.what == What::Chase {
            return 1;
        }
        let rest = self.end.saturating_duration_since(first).as_secs_f64();
        (rest / self.interval.as_secs_f64()).ceil() as u64
    }

    fn fraction(&self, index: usize) -> f64 {
        (index % self.connections) as f64 / self.connections as f64
    }

    fn keep(&self, at: Instant) -> Option<Instant> {
        (self.what != What::Nothing && at < self.end).then_some(at)
    }
}

/// A number from 0 to 1 that looks random and is the same in every run (the finaliser of SplitMix64, Steele et al. 2014).
pub fn scatter(index: usize, round: u64) -> f64 {
    let mut bits =
        (index as u64).wrapping_add(round.wrapping_mul(0x0051_7cc1_b727_220a)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_spreads_connections_over_the_interval_and_ends() {
        let start = clock::now();
        let second = Duration::from_secs(1);
        let plan = Plan::new(Pace::Pings { per_s: 4.0 }, 4, start, second * 2);
        assert_eq!(plan.first(1), Some(start + second / 4));
        assert_eq!(plan.after(start + second / 4), Some(start + second + second / 4));
        assert_eq!(plan.after(start + second + second / 4), None);
        assert_eq!(plan.first_from(1, start + second / 2), Some(start + second + second / 4));
        assert_eq!((0..4).map(|index| plan.sends(index)).sum::<u64>(), 8);
        assert_eq!(Plan { what: What::Nothing, ..plan }.first(1), None);
    }

    #[test]
    fn a_chase_is_of_a_set() {
        let plan = Plan::new(Pace::Saturate { connections: 2 }, 4, clock::now(), Duration::from_secs(1));
        assert_eq!((plan.first(1), plan.first(2)), (Some(plan.start), None));
        assert_eq!(plan.after(plan.start), None);
        assert_eq!((0..4).map(|index| plan.sends(index)).sum::<u64>(), 2);
    }

    #[test]
    fn scattered_numbers_fill_the_range() {
        let numbers: Vec<f64> = (0..1000).map(|index| scatter(index, 1)).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        for tenth in 0..10 {
            let inside = numbers.iter().filter(|number| (*number * 10.0) as usize == tenth).count();
            assert!((60..140).contains(&inside), "{inside} in tenth {tenth}");
        }
        assert!(numbers[5] != scatter(5, 2));
    }
}
