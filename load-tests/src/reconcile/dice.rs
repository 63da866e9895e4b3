//! Chance from a seed, so that a run can be played again. The same seed draws the same plan on every machine and with
//! every version of every library; only the instants at which the machine carries it out differ.

use std::ops::Range;
use std::time::Duration;

/// The generator SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): small,
/// good enough for plans, and a new independent one can be split off for every actor.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Dice for an actor of its own: what one actor draws does not depend on how often another one did.
    pub fn for_actor(seed: u64, role: &str, number: usize) -> Self {
        let mut dice = Self::new(seed);
        for byte in role.bytes() {
            dice.state = dice.draw() ^ u64::from(byte);
        }
        dice.state = dice.draw() ^ number as u64;
        Self::new(dice.draw())
    }

    /// Dice for something that goes on at the same time.
    pub fn split(&mut self) -> Self {
        Self::new(self.draw())
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range; its start when the range is empty.
    pub fn number(&mut self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + self.draw() % width
    }

    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.number(0..length as u64)).unwrap_or(0)
    }

    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: u64) -> bool {
        self.number(0..100) < share
    }

    /// One of the ranges, each as often as its weight says; an empty one when there are none.
    pub fn weighted_range(&mut self, choices: &[(u64, Range<u64>)]) -> Range<u64> {
        let numbered: Vec<_> = choices.iter().enumerate().map(|(index, (weight, _))| (*weight, index)).collect();
        self.weighted(&numbered).and_then(|index| choices.get(index)).map_or(0..0, |(_, range)| range.clone())
    }

    /// One of the choices, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> Option<T> {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.number(0..total);
        choices.iter().find_map(|(weight, choice)| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit.then_some(*choice)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again_and_actors_draw_for_themselves() {
        let draws = |mut dice: Dice| (0..8).map(|_| dice.number(0..1_000)).collect::<Vec<_>>();
        assert_eq!(draws(Dice::for_actor(7, "tab", 3)), draws(Dice::for_actor(7, "tab", 3)));
        assert_ne!(draws(Dice::for_actor(7, "tab", 3)), draws(Dice::for_actor(7, "tab", 4)));
        assert_ne!(draws(Dice::for_actor(7, "tab", 3)), draws(Dice::for_actor(8, "tab", 3)));
        // The first values of the published reference implementation for the seed 1234567.
        let mut reference = Dice::new(1_234_567);
        assert_eq!(reference.draw(), 6_457_827_717_110_365_317);
        assert_eq!(reference.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn weights_count() {
        let mut dice = Dice::new(1);
        let hits = (0..1_000).filter(|_| dice.weighted(&[(1, false), (3, true)]) == Some(true)).count();
        assert!((650..850).contains(&hits), "{hits}");
        assert_eq!(dice.weighted(&[(0, 'a'), (5, 'b')]), Some('b'));
    }
}
