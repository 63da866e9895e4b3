//! What happened, as a hash for comparison and as text for people.

use std::collections::{BTreeMap, VecDeque};

use rollcall_core::Timestamp;

use super::START;

/// Events of which the text is kept while a seed is replayed.
const KEPT_MAX: usize = 400;

/// How often what was met; the second word is empty, or says how it came out.
pub type Met = BTreeMap<(&'static str, &'static str), u64>;

/// Every event goes into the hash; its text is made only in a replay.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    /// How often each kind was met: faults, phases, outcomes.
    pub met: Met,
    replay: Option<Replay>,
}

#[derive(Debug)]
struct Replay {
    last: VecDeque<String>,
    print: Print,
}

/// What a replay prints as it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Print {
    #[default]
    Nothing,
    Events,
    /// Also what comes too often: every answer of Postgres and every sync.
    All,
}

impl Trace {
    pub fn new(replay: bool, print: Print) -> Self {
        let replay = replay.then(|| Replay { last: VecDeque::new(), print });
        // FNV-1a: its offset basis and, below, its prime.
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, met: Met::new(), replay }
    }

    /// For what comes so often that its text would hide the rest.
    pub fn count(&mut self, now: Timestamp, what: &'static str, subject: u64) {
        self.events += 1;
        self.mix(&now.0.to_le_bytes());
        self.mix(what.as_bytes());
        self.mix(&subject.to_le_bytes());
        self.meet(what, "");
        if self.replay.as_ref().is_some_and(|replay| replay.print == Print::All) {
            println!("{:>12.6} s  {what:<24} {subject:>4}", now.since(START).as_secs_f64());
        }
    }

    /// Only counts.
    pub fn meet(&mut self, what: &'static str, outcome: &'static str) {
        *self.met.entry((what, outcome)).or_default() += 1;
    }

    pub fn note(&mut self, now: Timestamp, what: &'static str, subject: u64, text: impl FnOnce() -> String) {
        self.count(now, what, subject);
        if let Some(replay) = &mut self.replay {
            let seconds = now.since(START).as_secs_f64();
            let line = format!("{seconds:>12.6} s  {what:<24} {subject:>4}  {}", text());
            if replay.print != Print::Nothing {
                println!("{line}");
            }
            if replay.last.len() == KEPT_MAX {
                replay.last.pop_front();
            }
            replay.last.push_back(line);
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last events as text; empty unless this is a replay.
    pub fn last(&self, count: usize) -> Vec<String> {
        let last = self.replay.as_ref().map(|replay| &replay.last);
        last.map_or_else(Vec::new, |last| last.iter().skip(last.len().saturating_sub(count)).cloned().collect())
    }
}
