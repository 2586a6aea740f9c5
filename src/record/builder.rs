//! Writes record batches: for clients, the load generator and tests. The broker never builds one.

use corelane_model::{ProducerEpoch, ProducerId, Sequence};
use zerocopy::IntoBytes;

use crate::{
    batch::{CONTROL_BIT, Codec, HEADER_BYTES, Header, LENGTH_OVERHEAD, MAGIC, TRANSACTIONAL_BIT, write_crc},
    compression::{CompressionError, compress},
    varint,
};

/// Longest batch: its length is a signed 32-bit number.
pub const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// A header of a record: key and value.
pub type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

/// Collects records and writes them as one batch, again and again, in the same memory.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    level: Option<i32>,
    flags: i16,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: Sequence,
    /// Room for the header, then the records, plain.
    plain: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty builder whose batches are compressed so.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            level: None,
            flags: 0,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::new(-1),
            base_sequence: Sequence::new(-1),
            plain: vec![0; HEADER_BYTES],
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Sets the codec's level; `None` is its default.
    pub fn set_level(&mut self, level: Option<i32>) {
        self.level = level;
    }

    /// Makes the next batches idempotent: whose they are and the sequence of the first record.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
    }

    /// Makes the next batches part of a transaction, or not.
    pub fn set_transactional(&mut self, transactional: bool) {
        self.set_flag(TRANSACTIONAL_BIT, transactional);
    }

    /// Makes the next batches control batches, or not; brokers refuse them from clients.
    pub fn set_control(&mut self, control: bool) {
        self.set_flag(CONTROL_BIT, control);
    }

    fn set_flag(&mut self, bit: i16, set: bool) {
        if set { self.flags |= bit } else { self.flags &= !bit }
    }

    /// Appends a record; `timestamp` is in ms since 1970, or -1.
    #[inline]
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);

        let headers_bytes: usize =
            headers.iter().map(|(key, value)| field_bytes(Some(key.as_bytes())) + field_bytes(*value)).sum();
        let body = 1
            + varint::bytes(timestamp_delta)
            + varint::bytes(offset_delta)
            + field_bytes(key)
            + field_bytes(value)
            + varint::bytes(headers.len() as i64)
            + headers_bytes;
        let out = &mut self.plain;
        out.reserve(body + 5);
        varint::write(out, body as i64);
        let start = out.len();
        out.push(0);
        varint::write(out, timestamp_delta);
        varint::write(out, offset_delta);
        write_field(out, key);
        write_field(out, value);
        varint::write(out, headers.len() as i64);
        for (key, value) in headers {
            write_field(out, Some(key.as_bytes()));
            write_field(out, *value);
        }
        debug_assert_eq!(out.len() - start, body, "a record fills its length");
        assert!(out.len() <= BATCH_BYTES_MAX, "no batch holds {} bytes", out.len());
        self.count += 1;
    }

    /// Records collected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression, header included.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Appends the batch to `out`, with base offset 0 and leader epoch -1, and starts the next one.
    ///
    /// A base sequence moves on by the records written.
    ///
    /// # Errors
    /// [`CompressionError`] if the codec refuses its level; the records are kept.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), CompressionError> {
        let start = out.len();
        if self.codec == Codec::None {
            out.extend_from_slice(&self.plain);
        } else {
            out.resize(start + HEADER_BYTES, 0);
            compress(self.codec, self.level, &self.plain[HEADER_BYTES..], out)?;
        }
        let batch = &mut out[start..];
        let header = Header {
            base_offset: 0.into(),
            batch_length: ((batch.len() - LENGTH_OVERHEAD) as i32).into(),
            leader_epoch: (-1).into(),
            magic: MAGIC,
            crc: 0.into(),
            attributes: (i16::from(self.codec.number()) | self.flags).into(),
            last_offset_delta: (self.count - 1).into(),
            base_timestamp: self.base_timestamp.into(),
            max_timestamp: self.max_timestamp.into(),
            producer_id: self.producer_id.get().into(),
            producer_epoch: self.producer_epoch.get().into(),
            base_sequence: self.base_sequence.get().into(),
            record_count: self.count.into(),
        };
        batch[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        write_crc(batch);
        if self.base_sequence.get() >= 0 {
            self.base_sequence = self.base_sequence.wrapping_add(self.count);
        }
        self.plain.truncate(HEADER_BYTES);
        self.count = 0;
        Ok(())
    }
}

/// Bytes of a key, a value or a part of a header, with their length.
fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::bytes(bytes.len() as i64) + bytes.len())
}

fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use corelane_model::{LeaderEpoch, Offset};

    use super::*;
    use crate::{
        batch::{RecordBatch, batches, stamp},
        golden,
    };

    #[test]
    fn a_plain_batch_is_byte_for_byte_what_kafka_writes() {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.set_producer(ProducerId::new(4242), ProducerEpoch::new(3), Sequence::new(11));
        for (timestamp, key, value, headers) in golden::RECORDS {
            builder.push(timestamp, key, value, headers);
        }
        let expected = golden::batch(Codec::None);
        assert_eq!(builder.estimated_bytes(), expected.len());
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("plain");
        stamp(&mut bytes, Offset::new(7), LeaderEpoch::new(5)).expect("one batch");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_builder_starts_anew_and_its_sequence_moves_on() {
        let mut builder = BatchBuilder::new(Codec::Zstd);
        builder.set_producer(ProducerId::new(1), ProducerEpoch::new(0), Sequence::new(i32::MAX));
        builder.set_transactional(true);
        let mut bytes = Vec::new();
        for _ in 0..2 {
            builder.push(5, None, Some(b"one"), &[]);
            builder.push(3, None, Some(b"two"), &[]);
            assert_eq!(builder.len(), 2);
            builder.finish(&mut bytes).expect("compresses");
            assert!(builder.is_empty());
            assert_eq!(builder.estimated_bytes(), HEADER_BYTES);
        }
        let seen = |batch: RecordBatch<'_>| {
            assert!(batch.crc_matches() && batch.is_transactional() && !batch.is_control());
            (batch.base_sequence().get(), batch.base_timestamp(), batch.max_timestamp(), batch.record_count())
        };
        let read: Vec<_> = batches(&bytes).map(|batch| seen(batch.expect("sound"))).collect();
        assert_eq!(read, [(i32::MAX, 5, 5, 2), (1, 5, 5, 2)]);
    }
}
