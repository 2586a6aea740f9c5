//! Maps by ids that we drew ourselves: at random or in turn, never by a client. Their own bits spread them over a
//! map, so nothing has to be hashed against someone who would choose them to collide; on the way of every request.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map by [`TopicId`](super::TopicId), [`TopicPartition`](super::TopicPartition), or another id of ours.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Spreads small numbers over all bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes the words of an id.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl IdHasher {
    const fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_i32(&mut self, number: i32) {
        self.mix(u64::from(number.cast_unsigned()));
    }

    fn write_usize(&mut self, _length: usize) {
        // All ids of one kind are of one length.
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher};

    use super::*;
    use crate::{PartitionIndex, TopicId, TopicPartition};

    #[test]
    fn the_partitions_of_a_topic_differ_in_the_bits_that_a_map_looks_at() {
        let topic = TopicId::from_bytes(*b"sixteen bytes...");
        let of = |index| {
            let id = TopicPartition { topic, partition: PartitionIndex::new(index) };
            BuildHasherDefault::<IdHasher>::default().hash_one(id)
        };
        let low: HashSet<_> = (0..1024).map(|index| of(index) & 1023).collect();
        let high: HashSet<_> = (0..1024).map(|index| of(index) >> 57).collect();
        // Of 1024 draws into 1024 places about 647 are different; of 128 all are drawn.
        assert!(low.len() > 500 && high.len() > 100, "{} {}", low.len(), high.len());
    }
}
