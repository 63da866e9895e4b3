//! How many frames a client may send: a token bucket of two words.

use std::time::Duration;

use rollcall_core::Timestamp;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// When the bucket would be full, shifted by what was taken: the virtual time of the generic cell rate algorithm.
    full_at: Timestamp,
}

/// Frames a second, and how many may come at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    interval: Duration,
    burst: Duration,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.max(1) }
    }

    /// So many a minute, all of which may come at once.
    pub(super) fn per_minute(count: u32) -> Self {
        let interval = Duration::from_secs(60) / count.max(1);
        Self { interval, burst: interval * count.max(1) }
    }
}

impl Bucket {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { full_at: now }
    }

    /// Takes one frame, or says when the next may come.
    pub(super) fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Timestamp> {
        let full_at = self.full_at.max(now) + rate.interval;
        if full_at > now + rate.burst {
            return Err(full_at - rate.burst);
        }
        self.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_the_burst_then_the_rate() {
        let rate = Rate::new(20, 60);
        let mut bucket = Bucket::new(Timestamp::ZERO);
        let mut now = Timestamp::ZERO;
        assert_eq!((0..100).filter(|_| bucket.take(rate, now).is_ok()).count(), 60);
        let next = bucket.take(rate, now).expect_err("the bucket is empty");
        assert_eq!(next, Timestamp::from_millis(50));
        now = next;
        assert!(bucket.take(rate, now).is_ok());
        assert!(bucket.take(rate, now).is_err());
    }
}
