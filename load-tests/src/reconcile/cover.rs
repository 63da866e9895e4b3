//! Sets of time: what was billed and what was true are compared as sets, in whole microseconds.

/// A half-open stretch `[from, until)` in microseconds of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    pub from: i64,
    pub until: i64,
}

/// A set of time: sorted stretches that neither touch nor are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cover(Vec<Stretch>);

impl Stretch {
    pub fn new(from: i64, until: i64) -> Self {
        Self { from, until }
    }

    pub fn micros(self) -> i64 {
        (self.until - self.from).max(0)
    }
}

impl Cover {
    /// The union. Stretches may overlap, touch, be empty, and come in any order.
    pub fn of(stretches: impl IntoIterator<Item = Stretch>) -> Self {
        let mut sorted: Vec<_> = stretches.into_iter().filter(|stretch| stretch.from < stretch.until).collect();
        sorted.sort_unstable();
        let mut union: Vec<Stretch> = Vec::with_capacity(sorted.len());
        for stretch in sorted {
            match union.last_mut() {
                Some(last) if stretch.from <= last.until => last.until = last.until.max(stretch.until),
                _ => union.push(stretch),
            }
        }
        Self(union)
    }

    pub fn micros(&self) -> i64 {
        self.0.iter().map(|stretch| stretch.micros()).sum()
    }

    pub fn stretches(&self) -> &[Stretch] {
        &self.0
    }

    /// What is in this set and not in the other.
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for stretch in &self.0 {
            let mut from = stretch.from;
            while let Some(hole) = holes.peek() {
                if hole.from >= stretch.until {
                    break;
                }
                left.push(Stretch::new(from, hole.from));
                from = from.max(hole.until);
                if hole.until > stretch.until {
                    // It may reach into the next stretch as well.
                    break;
                }
                holes.next();
            }
            left.push(Stretch::new(from, stretch.until));
        }
        Self::of(left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::dice::Dice;
    use super::*;

    fn cover(stretches: &[(i64, i64)]) -> Cover {
        Cover::of(stretches.iter().map(|(from, until)| Stretch::new(*from, *until)))
    }

    #[test]
    fn a_union_counts_no_instant_twice() {
        let two_tabs = cover(&[(10, 30), (20, 40), (40, 45), (50, 50), (60, 61)]);
        assert_eq!(two_tabs.stretches(), cover(&[(10, 45), (60, 61)]).stretches());
        assert_eq!(two_tabs.micros(), 36);
        assert_eq!(cover(&[]).micros(), 0);
        assert_eq!(cover(&[(9, 3)]).micros(), 0, "the wrong way round is nothing");
    }

    #[test]
    fn a_difference_keeps_what_the_other_lacks() {
        let billed = cover(&[(0, 10), (20, 30), (40, 50)]);
        assert_eq!(billed.minus(&cover(&[(0, 50)])), Cover::default());
        assert_eq!(billed.minus(&Cover::default()), billed);
        assert_eq!(billed.minus(&cover(&[(5, 25), (28, 45)])), cover(&[(0, 5), (25, 28), (45, 50)]));
        assert_eq!(billed.minus(&cover(&[(10, 20), (50, 60)])), billed, "half-open: touching is not overlapping");
        assert_eq!(billed.minus(&cover(&[(-5, 1), (2, 3), (4, 29)])), cover(&[(1, 2), (3, 4), (29, 30), (40, 50)]));
    }

    /// Against a set of single microseconds, which cannot be wrong.
    #[test]
    fn random_sets_agree_with_counting() {
        let mut dice = Dice::new(11);
        for _ in 0..2_000 {
            let draw = |dice: &mut Dice| {
                let stretches = (0..dice.number(0..6)).map(|_| {
                    let from = dice.number(0..40) as i64;
                    (from, from + dice.number(0..12) as i64)
                });
                stretches.collect::<Vec<_>>()
            };
            let (left, right) = (draw(&mut dice), draw(&mut dice));
            let within = |set: &[(i64, i64)], at: i64| set.iter().any(|(from, until)| (*from..*until).contains(&at));
            let union = (0..60).filter(|at| within(&left, *at)).count() as i64;
            let difference = (0..60).filter(|at| within(&left, *at) && !within(&right, *at)).count() as i64;
            assert_eq!(cover(&left).micros(), union, "{left:?}");
            assert_eq!(cover(&left).minus(&cover(&right)).micros(), difference, "{left:?} minus {right:?}");
        }
    }
}
