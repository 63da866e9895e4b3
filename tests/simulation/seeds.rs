//! The tests, and the command that runs many seeds.

use super::run::{Options, run};

/// Seeds of `cargo test`.
const SEEDS: u64 = 500;

#[test]
fn every_seed_keeps_every_promise() {
    for seed in 0..SEEDS {
        if run(seed, Options::default()).is_err() {
            let violation = run(seed, Options { replay: true, print: false }).expect_err("the same seed, the same end");
            panic!("{violation:#?}");
        }
    }
}
