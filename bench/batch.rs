//! Record batches as a producer sends them (magic 2), appended straight to the bytes that leave the socket.
//!
//! The sizes of all records are known before the first byte is written, so a request's length fields can be
//! written first and the batch needs no second copy. Timestamps: every record carries the batch's base
//! timestamp (delta 0); no headers.

use std::io;

use crate::compression::{self, Compression};
use crate::keys::KEY_BYTES;

/// Bytes of the batch header, up to and with the record count.
pub const HEADER_BYTES: usize = 61;

/// Where the bytes that `batchLength` counts begin.
const LENGTH_END: usize = 12;
/// Where the bytes that the CRC covers begin.
const CRC_END: usize = 21;

/// Bytes of record number `index` of a batch with a value of `value` bytes, its own length field included.
pub fn record_bytes(index: u32, has_key: bool, value: usize) -> usize {
    let body = body_bytes(index, has_key, value);
    varint_bytes(zigzag(body)) + body
}

fn body_bytes(index: u32, has_key: bool, value: usize) -> usize {
    // Attributes, timestamp delta and key length take a byte each, as does the header count.
    let key = if has_key { KEY_BYTES } else { 0 };
    4 + key + varint_bytes(u64::from(index) * 2) + varint_bytes(zigzag(value)) + value
}

const _: () = assert!(KEY_BYTES < 64, "the length of a key takes one byte");

fn zigzag(length: usize) -> u64 {
    length as u64 * 2
}

fn varint_bytes(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The records of one batch: their keys, how large each value is, and its bytes.
pub trait Values {
    /// Records in the batch; at least one.
    fn count(&self) -> u32;
    /// Key of record `index`.
    fn key(&self, index: u32) -> Option<[u8; KEY_BYTES]>;
    /// Bytes of value `index`.
    fn bytes(&self, index: u32) -> usize;
    /// Appends value `index`.
    fn write(&self, index: u32, out: &mut Vec<u8>);
}

/// Appends record number `index`.
fn push_record(out: &mut Vec<u8>, index: u32, values: &impl Values) {
    let (key, value) = (values.key(index), values.bytes(index));
    push_varint(out, zigzag(body_bytes(index, key.is_some(), value)));
    out.extend_from_slice(&[0, 0]);
    push_varint(out, u64::from(index) * 2);
    match key {
        Some(key) => {
            push_varint(out, zigzag(KEY_BYTES));
            out.extend_from_slice(&key);
        }
        None => out.push(1), // key length -1, zigzag
    }
    push_varint(out, zigzag(value));
    let before = out.len();
    values.write(index, out);
    assert_eq!(out.len() - before, value, "value of record {index}");
    out.push(0);
}

/// What a batch's header says beside its records.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Of every record, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The idempotent producer, if it is one.
    pub producer: Option<Sequenced>,
}

/// An idempotent producer's id, epoch, and sequence of the batch's first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    /// As the broker gave it.
    pub id: i64,
    /// As the broker gave it.
    pub epoch: i16,
    /// Of the first record, below 2^31.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
}

/// Bit of a batch's attributes: it belongs to a transaction.
const TRANSACTIONAL: i16 = 0x10;

/// Bytes of the uncompressed batch of these values, header included.
pub fn batch_bytes(values: &impl Values) -> usize {
    let record = |i| record_bytes(i, values.key(i).is_some(), values.bytes(i));
    HEADER_BYTES + (0..values.count()).map(record).sum::<usize>()
}

/// Appends one uncompressed batch; it takes exactly [`batch_bytes`].
pub fn append(out: &mut Vec<u8>, values: &impl Values, stamp: Stamp) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    (0..values.count()).for_each(|index| push_record(out, index, values));
    fill_header(&mut out[start..], values.count(), stamp, Compression::NONE);
}

/// Appends one batch with its records compressed; `scratch` is overwritten. Returns the bytes of the batch had
/// it not been.
///
/// # Errors
/// What the codec says.
pub fn append_compressed(
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    values: &impl Values,
    stamp: Stamp,
    compression: Compression,
) -> io::Result<usize> {
    scratch.clear();
    (0..values.count()).for_each(|index| push_record(scratch, index, values));
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    compression::compress(compression, scratch, out)?;
    fill_header(&mut out[start..], values.count(), stamp, compression);
    Ok(HEADER_BYTES + scratch.len())
}

fn fill_header(batch: &mut [u8], count: u32, stamp: Stamp, compression: Compression) {
    let length = u32::try_from(batch.len() - LENGTH_END).expect("a batch is far below 4 GiB");
    let timestamp = stamp.timestamp_ms.to_be_bytes();
    let none = Sequenced { id: -1, epoch: -1, base_sequence: -1, transactional: false };
    let producer = stamp.producer.unwrap_or(none);
    let transactional = if producer.transactional { TRANSACTIONAL } else { 0 };
    let mut at = 8; // The base offset, 0, is the broker's to set.
    let mut put = |bytes: &[u8]| {
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&length.to_be_bytes());
    put(&(-1i32).to_be_bytes()); // partition leader epoch
    put(&[2]); // magic
    put(&[0; 4]); // CRC, below
    put(&(compression::attribute(compression) | transactional).to_be_bytes());
    put(&(count - 1).to_be_bytes()); // last offset delta
    put(&timestamp); // base
    put(&timestamp); // max
    put(&producer.id.to_be_bytes());
    put(&producer.epoch.to_be_bytes());
    put(&producer.base_sequence.to_be_bytes());
    put(&count.to_be_bytes());
    assert_eq!(at, HEADER_BYTES);
    let crc = crc32c::crc32c(&batch[CRC_END..]);
    batch[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Codec;
    use crate::reader;
    use proptest::prelude::*;

    struct Given<'a>(&'a [Vec<u8>], Option<[u8; KEY_BYTES]>);

    fn stamp(timestamp_ms: i64) -> Stamp {
        Stamp { timestamp_ms, producer: None }
    }

    impl Values for Given<'_> {
        fn count(&self) -> u32 {
            u32::try_from(self.0.len()).expect("few")
        }

        fn key(&self, _: u32) -> Option<[u8; KEY_BYTES]> {
            self.1
        }

        fn bytes(&self, index: u32) -> usize {
            self.0[index as usize].len()
        }

        fn write(&self, index: u32, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.0[index as usize]);
        }
    }

    /// The same values as the broker's own batch builder writes them.
    fn built(values: &[Vec<u8>], key: Option<&[u8]>, timestamp_ms: i64) -> Vec<u8> {
        let mut builder = corelane_record::BatchBuilder::new(corelane_record::Codec::None);
        values.iter().for_each(|value| builder.push(timestamp_ms, key, Some(value), &[]));
        let mut out = Vec::new();
        builder.finish(&mut out).expect("nothing to compress");
        out
    }

    fn read_back(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let batch = reader::next_batch(&mut bytes).expect("sound").expect("whole");
        assert!(bytes.is_empty(), "one batch and nothing else");
        let mut values = Vec::new();
        batch
            .for_each_record(&mut Vec::new(), |record| {
                assert_eq!(record.offset, values.len() as i64);
                values.push(record.value.unwrap_or_default().to_vec());
            })
            .expect("sound records");
        values
    }

    proptest! {
        #[test]
        fn a_batch_has_the_size_foretold_and_the_builder_s_bytes(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..200), timestamp in 0i64..1 << 45,
            key in any::<Option<[u8; KEY_BYTES]>>(),
        ) {
            let mut out = vec![1, 2, 3];
            append(&mut out, &Given(&values, key), stamp(timestamp));
            prop_assert_eq!(out.len() - 3, batch_bytes(&Given(&values, key)));
            prop_assert_eq!(&out[3..], built(&values, key.as_ref().map(|key| key.as_slice()), timestamp));
            prop_assert_eq!(read_back(&out[3..]), values);
        }

        #[test]
        fn every_codec_reads_back(values in prop::collection::vec(prop::collection::vec(0u8..4, 0..2000), 1..50)) {
            for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let (mut out, mut scratch) = (Vec::new(), Vec::new());
                let compression = Compression { codec, level: None };
                append_compressed(&mut out, &mut scratch, &Given(&values, None), stamp(5), compression).expect("compresses");
                prop_assert_eq!(read_back(&out), values.clone());
            }
        }
    }

    #[test]
    fn sizes_are_right_where_a_varint_grows() {
        for size in [0, 57, 58, 59, 63, 64, 8186, 8187, 8192, 1 << 20] {
            let values = [vec![7; size]];
            let mut out = Vec::new();
            append(&mut out, &Given(&values, None), stamp(0));
            assert_eq!(out.len(), batch_bytes(&Given(&values, None)), "value of {size} bytes");
            assert_eq!(read_back(&out), values);
        }
    }

    #[test]
    fn an_idempotent_producer_s_batch_says_whose_it_is() {
        let producer = Some(Sequenced {
            id: 0x0102_0304_0506_0708,
            epoch: 9,
            base_sequence: i32::MAX,
            transactional: true,
        });
        let mut out = Vec::new();
        append(&mut out, &Given(&[vec![1]], None), Stamp { timestamp_ms: 0, producer });
        assert_eq!(out[21..23], [0, 0x10]);
        assert_eq!(out[43..57], [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(read_back(&out), [vec![1]], "under its CRC");
    }
}
