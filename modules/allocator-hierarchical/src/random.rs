//! The one random thing here: in which order agents are looked at. Seeded by the core, so a run can be repeated.

/// SplitMix64: small, and good enough to shuffle a list.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let bound = last as u128 + 1;
            // The high part of a product: no division, and a bias of less than one in 2^32 for any list that fits in memory.
            let pick = usize::try_from((u128::from(self.next()) * bound) >> 64).unwrap_or(0);
            list.swap(last, pick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_order_and_nothing_is_lost() {
        let mut one: Vec<u32> = (0..100).collect();
        let mut two = one.clone();
        Random::new(7).shuffle(&mut one);
        Random::new(7).shuffle(&mut two);
        assert_eq!(one, two);
        assert_ne!(one, (0..100).collect::<Vec<_>>());
        one.sort_unstable();
        assert_eq!(one, (0..100).collect::<Vec<_>>());
    }
}
