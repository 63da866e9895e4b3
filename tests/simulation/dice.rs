//! The one source of chance of a simulation.

use std::ops::RangeInclusive;
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): tiny, and good enough to choose
/// what happens next.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self { state: seed };
        // Neighbouring seeds begin far apart.
        dice.state = dice.next();
        dice
    }

    /// Other dice, so that one part's draws do not move another's.
    pub fn split(&mut self) -> Self {
        Self { state: self.next() }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// In so many of a thousand cases.
    pub fn permille(&mut self, chance: u32) -> bool {
        self.below(1_000) < u64::from(chance)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration {
        Duration::from_micros(self.between(range.start().as_micros() as u64..=range.end().as_micros() as u64))
    }

    /// Between zero and `max`, mostly short.
    pub fn mostly_short(&mut self, max: Duration) -> Duration {
        let shorter = self.below(4) as u32;
        self.duration(Duration::ZERO..=max / (1 << (2 * shorter)))
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// One of the choices, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut place = self.below(u64::from(total)) as u32;
        for (weight, choice) in choices {
            if place < *weight {
                return *choice;
            }
            place -= weight;
        }
        unreachable!("the place is below the sum of the weights")
    }
}
