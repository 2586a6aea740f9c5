//! The records inside one batch.
//!
//! A record is its length, then (all lengths, deltas and counts being zigzag varints): attributes (1 byte,
//! unused), timestamp delta, offset delta, key length and key, value length and value, count of headers,
//! and of each header key length, key, value length, value. A negative length stands for null.
//!
//! Source: Kafka documentation, Implementation, 5.3.2 "Record"; `DefaultRecord`.

use corelane_model::{Offset, TimestampType};

use crate::{
    batch::{BatchError, Codec, RecordBatch},
    compression::{CompressionError, decompress},
    varint,
};

/// Why the records of a batch cannot be read. The same bytes will fail again.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The batch's header names no codec.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A record's fields do not fill its length, or a varint, length or count is impossible.
    #[error("record {index} of the batch is malformed")]
    Malformed {
        /// Its place in the batch, from 0.
        index: i32,
    },
    /// Bytes are left after as many records as the header counts.
    #[error("{0} bytes left after the last record of the batch")]
    TrailingBytes(usize),
}

/// One record, borrowed from its decompressed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its offset minus the batch's base offset, as it stands.
    pub offset_delta: i32,
    /// Its time in ms since 1970: the producer's, or the append time of the batch; -1 for none.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` deletes the key from a compacted topic.
    pub value: Option<&'a [u8]>,
    header_count: i32,
    headers: &'a [u8],
}

impl<'a> Record<'a> {
    /// Keys (UTF-8 by convention, unchecked) and values of its headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.headers;
        (0..self.header_count).map_while(move |_| read_header(&mut rest))
    }
}

/// Length and bytes; `None` within for null.
#[inline]
fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint::read_int(rest)?) else {
        return Some(None);
    };
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Some(bytes))
}

fn read_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let key = read_bytes(rest)??;
    let value = read_bytes(rest)?;
    Some((key, value))
}

/// Reads the records of a batch one after the other; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl<'a> Records<'a> {
    /// Over `records`, the decompressed records of `batch`.
    #[must_use]
    pub fn new(batch: &RecordBatch<'_>, records: &'a [u8]) -> Self {
        let append_time = match batch.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(batch.max_timestamp()),
        };
        Self {
            rest: records,
            index: 0,
            count: batch.record_count(),
            base_offset: batch.base_offset().get(),
            base_timestamp: batch.base_timestamp(),
            append_time,
        }
    }

    /// Over the records of `batch`, which are decompressed into `scratch` unless they are plain.
    ///
    /// # Errors
    /// [`RecordsError`] if the codec is unknown, the data malformed, or more than `output_max` bytes come out.
    pub fn decompressed(
        batch: &RecordBatch<'a>,
        scratch: &'a mut Vec<u8>,
        output_max: usize,
    ) -> Result<Self, RecordsError> {
        let codec = batch.codec()?;
        if codec == Codec::None {
            return Ok(Self::new(batch, batch.payload()));
        }
        scratch.clear();
        decompress(codec, batch.payload(), output_max, scratch)?;
        Ok(Self::new(batch, scratch))
    }

    #[inline]
    fn read(&mut self) -> Option<Record<'a>> {
        let mut rest = read_bytes(&mut self.rest)??;
        let (_attributes, behind) = rest.split_first()?;
        rest = behind;
        let timestamp_delta = varint::read_long(&mut rest)?;
        let offset_delta = varint::read_int(&mut rest)?;
        let key = read_bytes(&mut rest)?;
        let value = read_bytes(&mut rest)?;
        let header_count = varint::read_int(&mut rest)?;
        let headers = rest;
        if header_count < 0 {
            return None;
        }
        for _ in 0..header_count {
            read_header(&mut rest)?;
        }
        if !rest.is_empty() {
            return None;
        }
        Some(Record {
            // Offsets and times wrap as Kafka's do: what is stored may be nonsense, reading it is none.
            offset: Offset::new(self.base_offset.wrapping_add(i64::from(offset_delta))),
            offset_delta,
            timestamp: self.append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            header_count,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            let left = std::mem::take(&mut self.rest).len();
            return (left > 0).then_some(Err(RecordsError::TrailingBytes(left)));
        }
        let index = self.index;
        self.index += 1;
        let record = self.read().ok_or(RecordsError::Malformed { index });
        if record.is_err() {
            (self.index, self.rest) = (self.count, &[]);
        }
        Some(record)
    }
}

/// Calls `f` with every record of `batch`, in order.
///
/// Compressed records are decompressed into `scratch`, which a caller keeps for the next batch.
///
/// # Errors
/// [`RecordsError`]; `f` has then seen the records before the fault.
pub fn for_each_record(
    batch: &RecordBatch<'_>,
    scratch: &mut Vec<u8>,
    output_max: usize,
    mut f: impl FnMut(Record<'_>),
) -> Result<(), RecordsError> {
    for record in Records::decompressed(batch, scratch, output_max)? {
        f(record?);
    }
    Ok(())
}
