//! Repeatable randomness: a random number generator that is fully determined by its seed.
//!
//! Owns the one generator of the crate (SplitMix64). The services, the simulator, the tests and
//! the benches use it. The sequence of a seed must never change, because a printed seed must repeat
//! the run that printed it. It is not for secrets: an observer can compute all later numbers from
//! one of them.
//!
//! Tests: below.

/// A pseudorandom number generator (SplitMix64). The same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Returns the next number of the sequence.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            (self.roll() % bound as u64) as usize
        }
    }

    /// Returns true with probability 1 in `n`, or never if `n` is 0.
    pub fn once_in(&mut self, n: usize) -> bool {
        n > 0 && self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of the reference implementation (Vigna, `splitmix64.c`) for this seed.
    #[test]
    fn a_seed_gives_the_sequence_of_splitmix64() {
        let mut dice = Dice::new(1_234_567);
        let rolls = [(); 3].map(|()| dice.roll());
        assert_eq!(
            rolls,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn a_bound_of_zero_gives_zero_and_never() {
        let mut dice = Dice::new(0);
        assert_eq!((dice.below(0), dice.once_in(0)), (0, false));
        assert_eq!((dice.below(1), dice.once_in(1)), (0, true));
    }

    #[test]
    fn every_number_below_the_bound_comes_up() {
        let mut dice = Dice::new(7);
        let mut counts = [0; 6];
        (0..6_000).for_each(|_| counts[dice.below(6)] += 1);
        assert!(
            counts.iter().all(|count| (900..1_100).contains(count)),
            "{counts:?}"
        );
    }
}
