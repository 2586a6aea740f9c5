//! The integers of the log. Each is a type of its own, because a caller could swap them.

use std::fmt;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a number as it stands on the wire or on disk.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The number as it stands on the wire or on disk.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// Position of a record in its partition. Counts records, never bytes.
    Offset(i64)
}
number! {
    /// Counts the leaders of one partition. Brokers and producers have epochs of their own.
    LeaderEpoch(i32)
}
number! {
    /// Names a producer for idempotence and transactions. -1 stands for "none" on the wire.
    ProducerId(i64)
}
number! {
    /// Counts the incarnations of one producer id.
    ProducerEpoch(i16)
}
number! {
    /// Number of a record within its producer id and partition; wraps from 2^31-1 to 0.
    Sequence(i32)
}

impl Offset {
    /// The first offset of an untouched partition.
    pub const ZERO: Self = Self(0);

    /// The offset `records` further on, or `None` past `i64::MAX`.
    #[must_use]
    pub fn checked_add(self, records: i64) -> Option<Self> {
        self.0.checked_add(records).map(Self)
    }
}

impl LeaderEpoch {
    /// The epoch of a partition's first leader.
    pub const FIRST: Self = Self(0);
}

impl ProducerId {
    /// "No producer id": the batch is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The sequence `records` further on; after 2^31-1 comes 0.
    ///
    /// Source: Kafka, `DefaultRecordBatch.incrementSequence`.
    #[must_use]
    pub fn wrapping_add(self, records: i32) -> Self {
        Self((self.0.wrapping_add(records)) & i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_wraps_to_zero_after_the_largest() {
        assert_eq!(Sequence::new(i32::MAX).wrapping_add(1), Sequence::new(0));
        assert_eq!(Sequence::new(i32::MAX - 1).wrapping_add(3), Sequence::new(1));
        assert_eq!(Sequence::new(5).wrapping_add(3), Sequence::new(8));
    }

    #[test]
    fn an_offset_past_the_largest_is_refused() {
        assert_eq!(Offset::new(i64::MAX).checked_add(1), None);
    }
}
