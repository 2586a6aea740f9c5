//! Keys of records, and the partition that each belongs to.

use crate::schedule::unit;

/// Most keys of a Zipf law: its table takes 8 bytes for each.
pub const ZIPF_KEYS_MAX: u64 = 4_000_000;

/// Bytes of a key: `key-` and its number in ten digits.
pub const KEY_BYTES: usize = 14;

/// Most keys of any law: their numbers have ten digits.
const KEYS_MAX: u64 = 10_000_000_000;

/// Which keys records have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyLaw {
    /// None.
    None,
    /// Each of that many as often as any other.
    Uniform(u64),
    /// The `k`-th of that many as often as `1 / k^exponent`: a few are hot.
    Zipf(u64, f64),
    /// That many, one after the other.
    RoundRobin(u64),
}

impl KeyLaw {
    /// From `none`, `uniform:N`, `zipf:N[:EXPONENT]` or `round-robin:N`.
    ///
    /// # Errors
    /// Another text, or a number out of bounds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str, max: u64| match text.parse::<u64>() {
            Ok(count) if (1..=max).contains(&count) => Ok(count),
            _ => Err(format!("`{text}` is not a number of keys from 1 to {max}")),
        };
        match text.split(':').collect::<Vec<_>>().as_slice() {
            ["none"] => Ok(Self::None),
            ["uniform", count] => Ok(Self::Uniform(number(count, KEYS_MAX)?)),
            ["round-robin", count] => Ok(Self::RoundRobin(number(count, KEYS_MAX)?)),
            ["zipf", count] => Ok(Self::Zipf(number(count, ZIPF_KEYS_MAX)?, 1.0)),
            ["zipf", count, exponent] => match exponent.parse::<f64>() {
                Ok(exponent) if (0.0..=10.0).contains(&exponent) => {
                    Ok(Self::Zipf(number(count, ZIPF_KEYS_MAX)?, exponent))
                }
                _ => Err("the exponent lies between 0 and 10".into()),
            },
            _ => Err("keys are none, uniform:N, zipf:N[:EXPONENT] or round-robin:N".into()),
        }
    }
}

/// The keys of a run.
#[derive(Debug, Clone)]
pub struct Keys {
    law: KeyLaw,
    /// For a Zipf law: the share of records whose key is at most the `k`-th.
    shares: Vec<f64>,
}

impl Keys {
    /// Prepares a law.
    pub fn new(law: KeyLaw) -> Self {
        let mut shares = Vec::new();
        if let KeyLaw::Zipf(count, exponent) = law {
            let mut sum = 0.0;
            shares.extend((1..=count).map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            }));
            shares.iter_mut().for_each(|share| *share /= sum);
        }
        Self { law, shares }
    }

    /// Whether records have any.
    pub fn are_some(&self) -> bool {
        self.law != KeyLaw::None
    }

    /// The key of a producer's record `number`; `random` is a random number.
    pub fn pick(&self, number: u64, random: u64) -> Option<u64> {
        match self.law {
            KeyLaw::None => None,
            KeyLaw::Uniform(count) => Some(random % count),
            KeyLaw::RoundRobin(count) => Some(number % count),
            KeyLaw::Zipf(count, _) => {
                let share = unit(random);
                Some((self.shares.partition_point(|upto| *upto < share) as u64).min(count - 1))
            }
        }
    }
}

/// The bytes of key `number`.
pub fn bytes(mut number: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"key-0000000000";
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    key
}

/// The partition of a key, as Kafka's own producers choose it.
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Murmur2, 32 bits, with Kafka's seed. Source: Kafka, `Utils.murmur2` (Austin Appleby's hash).
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut word = [0; 4];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::mix;
    use proptest::prelude::*;

    /// Vectors: Kafka, `UtilsTest.testMurmur2`.
    #[test]
    fn keys_are_hashed_as_kafka_hashes_them() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    fn counts(law: KeyLaw, keys: usize, records: u64) -> Vec<u64> {
        let picker = Keys::new(law);
        let mut counts = vec![0; keys];
        (0..records).for_each(|n| counts[picker.pick(n, mix(n)).expect("a key") as usize] += 1);
        counts
    }

    #[test]
    fn each_law_picks_as_often_as_it_says() {
        assert!(counts(KeyLaw::RoundRobin(10), 10, 1000).iter().all(|n| *n == 100));
        assert!(counts(KeyLaw::Uniform(10), 10, 100_000).iter().all(|n| (9_500..10_500).contains(n)));
        let zipf = counts(KeyLaw::Zipf(100, 1.0), 100, 500_000);
        let harmonic: f64 = (1..=100).map(|k| 1.0 / f64::from(k)).sum();
        for rank in [1, 2, 10, 100] {
            let expected = 500_000.0 / harmonic / rank as f64;
            let found = zipf[rank - 1] as f64;
            assert!((found / expected - 1.0).abs() < 0.1, "rank {rank}: {found} for {expected}");
        }
        assert_eq!(Keys::new(KeyLaw::None).pick(1, 2), None);
    }

    proptest! {
        #[test]
        fn every_key_is_in_range_and_has_its_own_bytes(
            count in 1u64..5000, random in any::<u64>(), number in any::<u64>(), exponent in 0.0f64..3.0,
        ) {
            for law in [KeyLaw::Uniform(count), KeyLaw::Zipf(count, exponent), KeyLaw::RoundRobin(count)] {
                let key = Keys::new(law).pick(number, random).expect("a key");
                prop_assert!(key < count);
                prop_assert_eq!(bytes(key).to_vec(), format!("key-{key:010}").into_bytes());
                prop_assert!(partition(&bytes(key), 7) < 7);
            }
        }
    }

    #[test]
    fn what_is_no_law_is_refused() {
        for text in ["zipf", "uniform:0", "zipf:5000000", "zipf:10:-1", "round-robin:x", "some"] {
            assert!(KeyLaw::parse(text).is_err(), "{text}");
        }
        assert_eq!(KeyLaw::parse("zipf:10"), Ok(KeyLaw::Zipf(10, 1.0)));
    }
}
