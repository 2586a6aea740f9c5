//! The latest offset of each key, in memory that does not grow.
//!
//! A key is known by a hash of 128 bits under a seed of the pass's own: that two of a billion keys meet has
//! a chance of one in 10^20. Open addressing, 24 bytes a slot; three quarters of the slots are filled at most.

use twox_hash::XxHash3_128;

/// Bytes of a slot.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
/// Fewest slots of a map.
const SLOTS_MIN: usize = 64;

/// Both halves of a hash, and the offset plus one: 0 is an empty slot.
type Slot = [u64; 3];

pub(super) struct KeyMap {
    slots: Vec<Slot>,
    keys: usize,
    keys_max: usize,
    seed: u64,
}

impl KeyMap {
    /// A map of at most `bytes_max` bytes (of memory that is taken as it is used), smaller where
    /// `keys_expected` are fewer.
    pub(super) fn new(bytes_max: usize, keys_expected: u64, seed: u64) -> Self {
        let wanted = usize::try_from(keys_expected.saturating_mul(4) / 3).unwrap_or(usize::MAX);
        let slots = wanted.min(bytes_max / SLOT_BYTES).max(SLOTS_MIN);
        Self { slots: vec![[0; 3]; slots], keys: 0, keys_max: slots / 4 * 3, seed }
    }

    /// Notes that `key` is at `offset`, no lower than before. False if there is no room for another key.
    pub(super) fn note(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        let at = self.slot_of(hash);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.keys == self.keys_max {
                return false;
            }
            self.keys += 1;
        }
        *slot = [hash[0], hash[1], slot[2].max(offset as u64 + 1)];
        true
    }

    /// The latest offset of a key, if it was noted.
    pub(super) fn latest(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots[self.slot_of(self.hash(key))];
        slot[2].checked_sub(1).map(|offset| offset as i64)
    }

    /// Keys noted.
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = XxHash3_128::oneshot_with_seed(self.seed, key);
        [(hash >> 64) as u64, hash as u64]
    }

    /// Where a hash stands, or would.
    fn slot_of(&self, hash: [u64; 2]) -> usize {
        // The upper half of a product spreads evenly over any number of slots.
        let mut at = ((u128::from(hash[0]) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0], slot[1]) == (hash[0], hash[1]) {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_map_knows_what_a_map_of_whole_keys_knows_until_it_is_full(
            keys in proptest::collection::vec(proptest::collection::vec(0..3_u8, 0..5), 0..400),
            slots in 0..400_usize,
            seed: u64,
        ) {
            let mut map = KeyMap::new(slots * SLOT_BYTES, u64::MAX, seed);
            let mut model = HashMap::new();
            for (offset, key) in keys.iter().enumerate() {
                if map.note(key, offset as i64) {
                    model.insert(key, offset as i64);
                } else {
                    prop_assert!(!model.contains_key(key));
                    prop_assert_eq!(map.len(), slots.max(SLOTS_MIN) / 4 * 3);
                }
            }
            prop_assert_eq!(map.len(), model.len());
            for key in &keys {
                prop_assert_eq!(map.latest(key), model.get(key).copied());
            }
        }
    }

    #[test]
    fn a_map_takes_what_it_was_given_and_no_more() {
        assert_eq!(KeyMap::new(1 << 20, 10, 1).slots.len(), SLOTS_MIN);
        assert_eq!(KeyMap::new(1 << 20, 3_000, 1).slots.len(), 4_000);
        assert!(KeyMap::new(1 << 20, u64::MAX, 1).slots.len() * SLOT_BYTES <= 1 << 20);
    }
}
