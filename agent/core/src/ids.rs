//! New ids, from a seed: random enough for the world, repeatable for a replay.

use bytes::Bytes;
use mezzo_model::ContainerId;

/// Makes version 4 UUIDs. Two SplitMix64 sequences give the two halves.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    halves: [u64; 2],
}

impl Ids {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self { halves: seed }
    }

    /// The uuid of a new status update.
    pub(crate) fn uuid(&mut self) -> Bytes {
        Bytes::copy_from_slice(&self.next().to_be_bytes())
    }

    /// The id of a new container, in the usual form with hyphens.
    pub(crate) fn container(&mut self) -> ContainerId {
        let hex = format!("{:032x}", self.next());
        let mut text = String::with_capacity(36);
        for (at, digit) in hex.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        ContainerId::new(&text)
    }

    fn next(&mut self) -> u128 {
        let [high, low] = &mut self.halves;
        let bits = (u128::from(split_mix(high)) << 64) | u128::from(split_mix(low));
        // The version (4) and the variant (10) of RFC 4122.
        let bits = bits & !(0xf << 76) | (4 << 76);
        bits & !(0b11 << 62) | (0b10 << 62)
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn container_ids_are_version_4_uuids_and_differ() {
        let mut ids = Ids::new([1, 2]);
        let (first, second) = (ids.container(), ids.container());
        assert_ne!(first, second);
        let digits: Vec<char> = first.as_str().chars().collect();
        assert_eq!(digits.len(), 36);
        assert_eq!(digits.get(14), Some(&'4'));
        assert!(digits.get(19).is_some_and(|c| "89ab".contains(*c)));
    }
}
