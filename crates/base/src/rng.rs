//! Seeded randomness, split by purpose: drawing more for one purpose never changes what another draws.

/// xoshiro256++ (Blackman and Vigna), seeded through SplitMix64. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The same seed gives the same numbers, on every machine and in every version.
    pub fn new(seed: u64) -> Self {
        let mut s = seed;
        Self { state: core::array::from_fn(|_| split_mix(&mut s)) }
    }

    /// An independent stream for one purpose. Does not advance `self`, so adding a purpose disturbs no other.
    #[must_use]
    pub fn split(&self, purpose: &str) -> Self {
        let mut seed = self.state[0] ^ self.state[3].rotate_left(17);
        for byte in purpose.bytes() {
            seed ^= u64::from(byte);
            split_mix(&mut seed);
        }
        Self::new(seed)
    }

    /// Sixty-four uniform bits.
    pub fn u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A hundred and twenty-eight uniform bits, for ids.
    pub fn u128(&mut self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }

    /// Uniform in `0..bound`. `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        // Lemire's multiply-shift; its bias is below 2^-32 for every bound used here.
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high);
        match (high - low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.u64(),
        }
    }

    /// True `numerator` times in `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// One of them, or none of an empty slice.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::new(2011);
        assert_eq!(
            [rng.u64(), rng.u64()],
            [Rng::new(2011).u64(), {
                let mut r = Rng::new(2011);
                r.u64();
                r.u64()
            }]
        );
        assert_ne!(Rng::new(1).u64(), Rng::new(2).u64());
    }

    #[test]
    fn a_split_neither_disturbs_its_parent_nor_equals_another() {
        let rng = Rng::new(7);
        let (mut a, mut b) = (rng.split("disk"), rng.split("net"));
        assert_ne!(a.u64(), b.u64());
        assert_eq!(rng.split("disk").u64(), rng.clone().split("disk").u64());
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut rng = Rng::new(3);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.within(9, 9), 9);
    }
}
