//! Entry functions for fuzzing: one for each kind of text that strangers, operators or a disk hand to the server.
//!
//! `make fuzz` runs them under libFuzzer (the targets in `fuzz/` are one line each); `cargo test` replays the seeds in
//! `fuzz/seeds` and mutations of them through the same functions. Each function panics when something that must always
//! hold does not; what holds is said where the function is. Built for tests and for fuzzing only.

#[cfg(test)]
mod tests;

pub use crate::admission::fuzz::tokens;
pub use crate::config::fuzz::configuration;
pub use crate::http::fuzz::requests;
pub use crate::ledger::fuzz::journal;
pub use crate::ws::fuzz::{frames, handshake};

/// The name of a target, as the folders of seeds and the fuzzers have it, and its function.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 6] = [
    ("configuration", configuration),
    ("frames", frames),
    ("handshake", handshake),
    ("journal", journal),
    ("requests", requests),
    ("tokens", tokens),
];

/// SplitMix64: enough to draw inputs, and the same everywhere.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Runs a future on the runtime of this thread: a runtime for each input would be most of the work.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}
