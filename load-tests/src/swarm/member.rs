//! What is known of each client of a swarm process, whether it is connected or not.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::messages::{Ended, How};
use super::room::{Room, View};
use crate::adapter::Entrant;
use crate::clock;
use crate::measure::Recorder;

/// Reasons of failures that are kept word by word.
const ERRORS_KEPT_MAX: usize = 20;

/// What all clients of a process share.
#[derive(Debug)]
pub struct Shared {
    pub origin: Instant,
    pub open: AtomicUsize,
    pub lost: AtomicUsize,
    pub frames: AtomicU64,
    pub sent: AtomicU64,
    pub answered: AtomicU64,
    pub latency: Recorder,
    pub lag: Recorder,
    /// From a scheduled join to another member's list.
    pub seen: Recorder,
    pub stopping: AtomicBool,
    errors: Mutex<Vec<String>>,
    ended: Mutex<Vec<Ended>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            origin: clock::now(),
            open: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            latency: Recorder::default(),
            lag: Recorder::default(),
            seen: Recorder::default(),
            stopping: AtomicBool::new(false),
            errors: Mutex::default(),
            ended: Mutex::default(),
        }
    }
}

impl Shared {
    pub fn fail(&self, error: String) {
        let mut errors = lock(&self.errors);
        if errors.len() < ERRORS_KEPT_MAX {
            errors.push(error);
        }
    }

    pub fn errors(&self) -> Vec<String> {
        lock(&self.errors).clone()
    }

    pub fn end(&self, ended: Ended) {
        lock(&self.ended).push(ended);
    }

    pub fn ended(&self) -> Vec<Ended> {
        lock(&self.ended).clone()
    }

    pub fn micros(&self, at: Instant) -> u64 {
        clock::micros_between(self.origin, at)
    }
}

#[derive(Debug)]
pub struct Member {
    /// Number in the whole swarm.
    pub index: usize,
    pub identity: Box<str>,
    pub token: Arc<str>,
    /// The room whose members it follows, and its own number there.
    pub place: Option<(Arc<Room>, u32)>,
    standing: AtomicU8,
    pub received: Counters,
    view: Mutex<View>,
    /// Changes when the client comes back.
    entered: Mutex<Entered>,
    /// Scheduled instant of the oldest ping without an answer, zero for none.
    pub waiting_us: AtomicU64,
}

/// What the last join brought.
#[derive(Debug, Default, Clone)]
pub struct Entered {
    pub resume: Option<Box<str>>,
    pub ends_at_us: Option<i64>,
}

/// Since the mark.
#[derive(Debug, Default)]
pub struct Counters {
    pub frames: AtomicU64,
    pub bytes: AtomicU64,
    pub presence_frames: AtomicU64,
    pub presence_bytes: AtomicU64,
    pub joins: AtomicU64,
    pub updates: AtomicU64,
    pub leaves: AtomicU64,
    pub snapshots: AtomicU64,
    pub gaps: AtomicU64,
}

/// Where a client stands. The order is of no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Not in, and not lost: not yet joined, or dropped.
    Out,
    In,
    /// In, and told to go; the task of the client will see it.
    Closing,
    Resetting,
    Silencing,
    /// Connected, and mute.
    Silent,
    /// The connection ended by itself.
    Lost,
    /// The session ended.
    Over,
}

impl Standing {
    pub fn ordered(how: How) -> Self {
        match how {
            How::Close => Self::Closing,
            How::Reset => Self::Resetting,
            How::Silent => Self::Silencing,
        }
    }

    pub fn is_order(self) -> bool {
        matches!(self, Self::Closing | Self::Resetting | Self::Silencing)
    }
}

impl Member {
    pub fn new(index: usize, identity: String, token: Arc<str>, place: Option<(Arc<Room>, u32)>) -> Self {
        Self {
            index,
            identity: identity.into(),
            token,
            place,
            standing: AtomicU8::new(Standing::Out as u8),
            received: Counters::default(),
            view: Mutex::default(),
            entered: Mutex::default(),
            waiting_us: AtomicU64::new(0),
        }
    }

    pub fn entrant(&self) -> Entrant<'_> {
        Entrant { identity: &self.identity, token: &self.token }
    }

    pub fn standing(&self) -> Standing {
        match self.standing.load(Relaxed) {
            1 => Standing::In,
            2 => Standing::Closing,
            3 => Standing::Resetting,
            4 => Standing::Silencing,
            5 => Standing::Silent,
            6 => Standing::Lost,
            7 => Standing::Over,
            _ => Standing::Out,
        }
    }

    pub fn stand(&self, standing: Standing) {
        self.standing.store(standing as u8, Relaxed);
    }

    /// Changes the standing unless it has moved on.
    pub fn turn(&self, from: Standing, to: Standing) -> bool {
        self.standing.compare_exchange(from as u8, to as u8, Relaxed, Relaxed).is_ok()
    }

    pub fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    pub fn entered(&self) -> Entered {
        lock(&self.entered).clone()
    }

    pub fn enter(&self, entered: Entered) {
        *lock(&self.entered) = entered;
    }
}

impl Counters {
    pub fn reset(&self) {
        for counter in self.all() {
            counter.store(0, Relaxed);
        }
    }

    fn all(&self) -> [&AtomicU64; 9] {
        [
            &self.frames,
            &self.bytes,
            &self.presence_frames,
            &self.presence_bytes,
            &self.joins,
            &self.updates,
            &self.leaves,
            &self.snapshots,
            &self.gaps,
        ]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_is_read_back() {
        let member = Member::new(0, "a".to_owned(), "t".into(), None);
        for standing in [
            Standing::Out,
            Standing::In,
            Standing::Closing,
            Standing::Resetting,
            Standing::Silencing,
            Standing::Silent,
            Standing::Lost,
            Standing::Over,
        ] {
            member.stand(standing);
            assert_eq!(member.standing(), standing);
        }
        assert!(!member.turn(Standing::In, Standing::Lost), "it has moved on");
    }
}
