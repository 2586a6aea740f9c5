//! Record batches as a consumer gets them: from the bytes of a fetch to records, trusting nothing.
//!
//! A second implementation beside the broker's own: a mistake that both the broker's writer and its reader
//! make would go unseen if the generator shared their code.

use std::io;

/// Most bytes that one batch may unpack to.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// Bytes of the batch header.
const HEADER_BYTES: usize = 61;

/// Why bytes are not a batch, or not records.
#[derive(Debug, thiserror::Error)]
pub enum BatchFault {
    /// Magic other than 2.
    #[error("magic is {0}, not 2")]
    Magic(u8),
    /// The stored CRC-32C is not that of the bytes.
    #[error("stored CRC is {stored:#010x}, the bytes have {computed:#010x}")]
    Crc {
        /// As the header says.
        stored: u32,
        /// As the bytes say.
        computed: u32,
    },
    /// A length or count that cannot be.
    #[error("{0} makes no sense")]
    Malformed(&'static str),
    /// The records do not unpack.
    #[error("records do not unpack: {0}")]
    Codec(#[from] io::Error),
}

/// One whole batch.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

/// One record; keys and headers are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Value; `None` is a null value.
    pub value: Option<&'a [u8]>,
}

/// Takes the first batch off `bytes`: `None` when the rest is empty or a batch cut short, as a fetch may end.
///
/// # Errors
/// [`BatchFault`] of the batch; what follows it cannot be trusted either.
pub fn next_batch<'a>(bytes: &mut &'a [u8]) -> Result<Option<Batch<'a>>, BatchFault> {
    let Some(length) = bytes.get(8..12) else { return Ok(None) };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let total = usize::try_from(length).map_err(|_| BatchFault::Malformed("batch length"))? + 12;
    if total < HEADER_BYTES {
        return Err(BatchFault::Malformed("batch length"));
    }
    let Some((batch, rest)) = bytes.split_at_checked(total) else { return Ok(None) };
    *bytes = rest;
    if batch[16] != 2 {
        return Err(BatchFault::Magic(batch[16]));
    }
    let stored = u32::from_be_bytes([batch[17], batch[18], batch[19], batch[20]]);
    let computed = crc32c::crc32c(&batch[21..]);
    if stored != computed {
        return Err(BatchFault::Crc { stored, computed });
    }
    Ok(Some(Batch { bytes: batch }))
}

impl<'a> Batch<'a> {
    fn i64_at(&self, at: usize) -> i64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at..at + 8]);
        i64::from_be_bytes(word)
    }

    fn i32_at(&self, at: usize) -> i32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        i32::from_be_bytes(word)
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> i64 {
        self.i64_at(0)
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.i32_at(23))).saturating_add(1)
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.bytes[22] & 0x10 != 0
    }

    /// Id of the idempotent or transactional producer; negative if it is neither.
    pub fn producer_id(&self) -> i64 {
        self.i64_at(43)
    }

    /// Whether it carries a transaction marker instead of records.
    pub fn is_control(&self) -> bool {
        self.bytes[22] & 0x20 != 0
    }

    /// Calls `each` for every record, in order. `scratch` is used for unpacking.
    ///
    /// # Errors
    /// [`BatchFault`] if the records do not unpack, or are not as many as the header says.
    pub fn for_each_record(
        &self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(Record<'_>),
    ) -> Result<(), BatchFault> {
        let packed = &self.bytes[HEADER_BYTES..];
        let codec = self.bytes[22] & 7;
        let mut bytes = if codec == 0 {
            packed
        } else {
            scratch.clear();
            crate::compression::decompress(codec, packed, scratch, UNPACKED_BYTES_MAX)?;
            scratch
        };
        let count = self.i32_at(57);
        for _ in 0..count {
            let mut record =
                sized(&mut bytes, "record length")?.ok_or(BatchFault::Malformed("record length"))?;
            take(&mut record, 1, "attributes")?;
            varint(&mut record)?;
            let delta = varint(&mut record)?;
            sized(&mut record, "key length")?;
            let value = sized(&mut record, "value length")?;
            each(Record { offset: self.base_offset().saturating_add(delta), value });
        }
        if !bytes.is_empty() {
            return Err(BatchFault::Malformed("record count"));
        }
        Ok(())
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize, what: &'static str) -> Result<&'a [u8], BatchFault> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(BatchFault::Malformed(what))?;
    *bytes = rest;
    Ok(taken)
}

/// A zigzag varint of at most 10 bytes.
fn varint(bytes: &mut &[u8]) -> Result<i64, BatchFault> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = take(bytes, 1, "varint")?[0];
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(BatchFault::Malformed("varint"))
}

/// A varint length, -1 for null, and that many bytes.
fn sized<'a>(bytes: &mut &'a [u8], what: &'static str) -> Result<Option<&'a [u8]>, BatchFault> {
    match varint(bytes)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| BatchFault::Malformed(what))?;
            take(bytes, length, what).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch_of(values: &[&[u8]]) -> Vec<u8> {
        let mut builder = corelane_record::BatchBuilder::new(corelane_record::Codec::None);
        values.iter().for_each(|value| builder.push(0, Some(b"key"), Some(value), &[]));
        let mut out = Vec::new();
        builder.finish(&mut out).expect("nothing to compress");
        out
    }

    #[test]
    fn a_batch_cut_short_at_the_end_of_a_fetch_is_left_for_the_next() {
        let whole = batch_of(&[b"one", b"two"]);
        for cut in 0..whole.len() {
            assert!(next_batch(&mut &whole[..cut]).expect("no fault").is_none(), "cut at {cut}");
        }
        let two = [whole.clone(), whole[..40].to_vec()].concat();
        let mut rest = two.as_slice();
        let batch = next_batch(&mut rest).expect("sound").expect("whole");
        assert_eq!((batch.base_offset(), batch.next_offset()), (0, 2));
        assert!(next_batch(&mut rest).expect("no fault").is_none());
    }

    proptest! {
        #[test]
        fn a_changed_byte_under_the_crc_is_found(place in 21usize..200, flip in 1u8..=255) {
            let mut batch = batch_of(&[&[9; 100], &[8; 100]]);
            batch[place] ^= flip;
            let crc = matches!(next_batch(&mut batch.as_slice()), Err(BatchFault::Crc { .. }));
            prop_assert!(crc, "byte {}", place);
        }

        #[test]
        fn bytes_of_any_kind_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            // With the length, magic and CRC right, the records are reached.
            if bytes.len() >= 61 {
                let length = u32::try_from(bytes.len() - 12).expect("short");
                bytes[8..12].copy_from_slice(&length.to_be_bytes());
                bytes[16] = 2;
                let crc = crc32c::crc32c(&bytes[21..]);
                bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            }
            if let Ok(Some(batch)) = next_batch(&mut bytes.as_slice()) {
                let _ = batch.for_each_record(&mut Vec::new(), |_| {});
            }
        }
    }
}
