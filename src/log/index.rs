//! Sparse map from offset and time to a byte position inside one segment.
//!
//! A look-up takes the nearest entry at or before what it seeks and walks batches forward from there.
//! One entry is added per [`INDEX_INTERVAL_BYTES`] appended. A missing entry costs a longer walk, never a
//! wrong answer, so entries may be dropped, merged and learned from walks at any time.
//!
//! File `<base offset, 20 digits>.index`, little-endian; written whole, at roll, when a log comes to rest
//! and after much growth; never synced for its own sake:
//!
//! | bytes     | field             | meaning                                                           |
//! |-----------|-------------------|-------------------------------------------------------------------|
//! | 0..4      | magic             | `CLIX`                                                            |
//! | 4..8      | count             | entries                                                           |
//! | 8..       | entries, 16 bytes | relative offset (4), position (4), max timestamp before it (8)    |
//! | last 4    | CRC-32C           | of all before it                                                  |
//!
//! A file is trusted if its CRC matches; its entries only below the end that the checkpoint and the
//! journal give the segment. Otherwise it counts as absent.

use crate::model::Offset;

/// Bytes appended to a segment per index entry.
pub const INDEX_INTERVAL_BYTES: u64 = 64 * 1024;
/// Largest index file that is read, in bytes: entries of a segment of 4 GiB, and half as many again.
pub(super) const INDEX_FILE_BYTES_MAX: usize = 3 << 19;
/// Timestamp before every other: no batch lies before this entry.
pub(super) const NO_TIMESTAMP: i64 = -1;

const MAGIC: &[u8; 4] = b"CLIX";

/// A batch at a known place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The batch's base offset.
    pub(super) offset: Offset,
    /// Its first byte in the segment.
    pub(super) position: u64,
    /// The largest timestamp of the batches before it in this segment.
    pub(super) max_before: i64,
}

impl Entry {
    /// The start of a segment.
    pub(super) const fn first(base: Offset) -> Self {
        Self { offset: base, position: 0, max_before: NO_TIMESTAMP }
    }
}

/// What a look-up seeks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seek {
    Offset(Offset),
    /// The first batch whose largest timestamp is not below this.
    Time(i64),
}

impl Seek {
    fn is_at_or_after(self, entry: &Entry) -> bool {
        match self {
            Self::Offset(offset) => entry.offset <= offset,
            Self::Time(time) => entry.max_before < time,
        }
    }
}

/// The nearest entry at or before what is sought.
pub(super) fn nearest(entries: &[Entry], seek: Seek) -> Option<Entry> {
    let after = entries.partition_point(|entry| seek.is_at_or_after(entry));
    after.checked_sub(1).map(|at| entries[at])
}

/// Adds entries to others of the same segment, in order, each position once.
pub(super) fn merge(entries: &mut Vec<Entry>, more: &[Entry]) {
    entries.extend_from_slice(more);
    entries.sort_by_key(|entry| entry.position);
    entries.dedup_by_key(|entry| entry.position);
}

pub(super) fn encode(base: Offset, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + entries.len() * 16);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        let relative = (entry.offset.get() - base.get()) as u32;
        bytes.extend_from_slice(&relative.to_le_bytes());
        bytes.extend_from_slice(&(entry.position as u32).to_le_bytes());
        bytes.extend_from_slice(&entry.max_before.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The entries of a file; `None` if it is not to be trusted.
pub(super) fn decode(base: Offset, bytes: &[u8]) -> Option<Vec<Entry>> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    let (magic, rest) = covered.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    if magic != MAGIC || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) || rest.len() != count * 16 {
        return None;
    }
    let entry = |bytes: &[u8; 16]| {
        let number = u128::from_le_bytes(*bytes);
        Entry {
            offset: Offset::new(base.get() + i64::from(number as u32)),
            position: u64::from((number >> 32) as u32),
            max_before: (number >> 64) as i64,
        }
    };
    let (entries, _) = rest.as_chunks::<16>();
    Some(entries.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |i: i64| Entry {
            offset: Offset::new(1000 + 10 * i),
            position: i as u64 * 70_000,
            max_before: if i == 0 { NO_TIMESTAMP } else { 500 + i / 2 },
        };
        (0..9).map(entry).collect()
    }

    #[test]
    fn a_file_reads_back_and_a_changed_byte_makes_it_absent() {
        let base = Offset::new(1000);
        let bytes = encode(base, &entries());
        assert_eq!(decode(base, &bytes), Some(entries()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert_eq!(decode(base, &changed), None, "byte {at}");
        }
        assert_eq!(decode(base, &bytes[..7]), None);
    }

    #[test]
    fn a_look_up_takes_the_nearest_entry_at_or_before() {
        let at = |seek| nearest(&entries(), seek).map(|entry| entry.offset.get());
        assert_eq!(at(Seek::Offset(Offset::new(999))), None);
        assert_eq!(at(Seek::Offset(Offset::new(1019))), Some(1010));
        assert_eq!(at(Seek::Offset(Offset::new(5000))), Some(1080));
        // 501 is the largest timestamp before entries 2 and 3: the batch that has it lies before them.
        assert_eq!(at(Seek::Time(501)), Some(1010));
        assert_eq!(at(Seek::Time(0)), Some(1000));
    }

    #[test]
    fn merged_entries_stand_in_order_once() {
        let mut some = vec![entries()[3], entries()[5]];
        merge(&mut some, &entries());
        assert_eq!(some, entries());
    }
}
