//! Record batches as a producer sends them (magic 2), appended straight to the bytes that leave the socket.
//!
//! The sizes of all records are known before the first byte is written, so a request's length fields can be
//! written first and the batch needs no second copy. Timestamps: every record carries the batch's base
//! timestamp (delta 0); no keys, no headers, no producer id.

use std::io;

use crate::args::Codec;
use crate::compression;

/// Bytes of the batch header, up to and with the record count.
pub const HEADER_BYTES: usize = 61;

/// Where the bytes that `batchLength` counts begin.
const LENGTH_END: usize = 12;
/// Where the bytes that the CRC covers begin.
const CRC_END: usize = 21;

/// Bytes of record number `index` of a batch with a value of `value` bytes, its own length field included.
pub fn record_bytes(index: u32, value: usize) -> usize {
    let body = body_bytes(index, value);
    varint_bytes(zigzag(body)) + body
}

fn body_bytes(index: u32, value: usize) -> usize {
    // Attributes, timestamp delta and key length take a byte each, as does the header count.
    4 + varint_bytes(u64::from(index) * 2) + varint_bytes(zigzag(value)) + value
}

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

/// Appends record number `index`; `write` appends its value of exactly `value` bytes.
fn push_record(out: &mut Vec<u8>, index: u32, value: usize, write: impl FnOnce(&mut Vec<u8>)) {
    push_varint(out, zigzag(body_bytes(index, value)));
    out.extend_from_slice(&[0, 0]);
    push_varint(out, u64::from(index) * 2);
    out.push(1); // key length -1, zigzag
    push_varint(out, zigzag(value));
    let before = out.len();
    write(out);
    assert_eq!(out.len() - before, value, "value of record {index}");
    out.push(0);
}

/// The records of one batch: how large each value is, and its bytes.
pub trait Values {
    /// Records in the batch; at least one.
    fn count(&self) -> u32;
    /// Bytes of value `index`.
    fn bytes(&self, index: u32) -> usize;
    /// Appends value `index`.
    fn write(&self, index: u32, out: &mut Vec<u8>);
}

/// Bytes of the uncompressed batch of these values, header included.
pub fn batch_bytes(values: &impl Values) -> usize {
    HEADER_BYTES + (0..values.count()).map(|i| record_bytes(i, values.bytes(i))).sum::<usize>()
}

/// Appends one uncompressed batch; it takes exactly [`batch_bytes`].
pub fn append(out: &mut Vec<u8>, values: &impl Values, timestamp_ms: i64) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    for index in 0..values.count() {
        push_record(out, index, values.bytes(index), |out| values.write(index, out));
    }
    fill_header(&mut out[start..], values.count(), timestamp_ms, Codec::None);
}

/// Appends one batch with its records compressed; `scratch` is overwritten.
///
/// # Errors
/// What the codec says.
pub fn append_compressed(
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    values: &impl Values,
    timestamp_ms: i64,
    codec: Codec,
) -> io::Result<()> {
    scratch.clear();
    for index in 0..values.count() {
        push_record(scratch, index, values.bytes(index), |out| values.write(index, out));
    }
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    compression::compress(codec, scratch, out)?;
    fill_header(&mut out[start..], values.count(), timestamp_ms, codec);
    Ok(())
}

fn fill_header(batch: &mut [u8], count: u32, timestamp_ms: i64, codec: Codec) {
    let length = u32::try_from(batch.len() - LENGTH_END).expect("a batch is far below 4 GiB");
    let timestamp = timestamp_ms.to_be_bytes();
    let mut at = 8; // The base offset, 0, is the broker's to set.
    let mut put = |bytes: &[u8]| {
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&length.to_be_bytes());
    put(&(-1i32).to_be_bytes()); // partition leader epoch
    put(&[2]); // magic
    put(&[0; 4]); // CRC, below
    put(&compression::attribute(codec).to_be_bytes());
    put(&(count - 1).to_be_bytes()); // last offset delta
    put(&timestamp); // base
    put(&timestamp); // max
    put(&(-1i64).to_be_bytes()); // producer id
    put(&(-1i16).to_be_bytes()); // producer epoch
    put(&(-1i32).to_be_bytes()); // base sequence
    put(&count.to_be_bytes());
    assert_eq!(at, HEADER_BYTES);
    let crc = crc32c::crc32c(&batch[CRC_END..]);
    batch[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader;
    use proptest::prelude::*;

    struct Given<'a>(&'a [Vec<u8>]);

    impl Values for Given<'_> {
        fn count(&self) -> u32 {
            u32::try_from(self.0.len()).expect("few")
        }

        fn bytes(&self, index: u32) -> usize {
            self.0[index as usize].len()
        }

        fn write(&self, index: u32, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.0[index as usize]);
        }
    }

    /// The same values as the broker's own batch builder writes them.
    fn built(values: &[Vec<u8>], timestamp_ms: i64) -> Vec<u8> {
        let mut builder = corelane_record::BatchBuilder::new(corelane_record::Codec::None);
        values.iter().for_each(|value| builder.push(timestamp_ms, None, Some(value), &[]));
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
        ) {
            let mut out = vec![1, 2, 3];
            append(&mut out, &Given(&values), timestamp);
            prop_assert_eq!(out.len() - 3, batch_bytes(&Given(&values)));
            prop_assert_eq!(&out[3..], built(&values, timestamp));
            prop_assert_eq!(read_back(&out[3..]), values);
        }

        #[test]
        fn every_codec_reads_back(values in prop::collection::vec(prop::collection::vec(0u8..4, 0..2000), 1..50)) {
            for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let (mut out, mut scratch) = (Vec::new(), Vec::new());
                append_compressed(&mut out, &mut scratch, &Given(&values), 5, codec).expect("compresses");
                prop_assert_eq!(read_back(&out), values.clone());
            }
        }
    }

    #[test]
    fn sizes_are_right_where_a_varint_grows() {
        for size in [0, 57, 58, 59, 63, 64, 8186, 8187, 8192, 1 << 20] {
            let values = [vec![7; size]];
            let mut out = Vec::new();
            append(&mut out, &Given(&values), 0);
            assert_eq!(out.len(), batch_bytes(&Given(&values)), "value of {size} bytes");
            assert_eq!(read_back(&out), values);
        }
    }
}
