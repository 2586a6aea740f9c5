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

impl Record<'_> {
    pub(crate) fn header_count(&self) -> i32 {
        self.header_count
    }

    /// Its headers as they stand.
    pub(crate) fn raw_headers(&self) -> &[u8] {
        self.headers
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

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{batch, builder::BatchBuilder, golden};

    type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn read(bytes: &[u8], output_max: usize) -> Result<Vec<Owned>, RecordsError> {
        let batch = RecordBatch::first(bytes)?.ok_or(BatchError::Partial(bytes.len()))?;
        let mut records = Vec::new();
        for_each_record(&batch, &mut Vec::new(), output_max, |record| {
            let offset = batch.base_offset().get() + i64::from(record.offset_delta);
            assert_eq!(record.offset, Offset::new(offset));
            let header = |(key, value): (&[u8], Option<&[u8]>)| {
                (String::from_utf8_lossy(key).into_owned(), value.map(<[u8]>::to_vec))
            };
            records.push((
                record.timestamp,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                record.headers().map(header).collect(),
            ));
        })?;
        Ok(records)
    }

    fn golden_records() -> Vec<Owned> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        golden::RECORDS
            .iter()
            .map(|&(timestamp, key, value, headers)| {
                let headers = headers.iter().map(|&(key, value)| (key.to_owned(), owned(value))).collect();
                (timestamp, owned(key), owned(value), headers)
            })
            .collect()
    }

    #[test]
    fn kafkas_records_are_read_in_every_codec() {
        for codec in Codec::ALL {
            assert_eq!(read(&golden::batch(codec), 100).expect("sound"), golden_records(), "{codec:?}");
        }
    }

    #[test]
    fn offsets_are_the_base_offset_and_what_each_record_says() {
        let bytes = golden::batch(Codec::Zstd);
        let batch = RecordBatch::first(&bytes).expect("sound").expect("whole");
        let mut offsets = Vec::new();
        for_each_record(&batch, &mut Vec::new(), 100, |record| offsets.push(record.offset.get()))
            .expect("sound");
        assert_eq!(offsets, [7, 8, 9]);
        // Compaction leaves gaps: the second of two records is the fourth of the former batch.
        let gap = with_payload(2, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 6, 1, 1, 0]);
        let batch = RecordBatch::first(&gap).expect("sound").expect("whole");
        let records: Vec<_> =
            Records::new(&batch, batch.payload()).map(|record| record.expect("sound")).collect();
        assert_eq!(records.iter().map(|record| record.offset.get()).collect::<Vec<_>>(), [7, 10]);
    }

    #[test]
    fn append_time_stands_for_the_time_of_every_record() {
        let mut bytes = golden::batch(Codec::Gzip);
        batch::set_log_append_time(&mut bytes, 42).expect("one batch");
        assert!(read(&bytes, 100).expect("sound").iter().all(|record| record.0 == 42));
    }

    #[test]
    fn decompression_stops_at_the_cap() {
        let error = read(&golden::batch(Codec::Zstd), 87).expect_err("88 bytes");
        assert!(matches!(error, RecordsError::Compression(CompressionError::TooLarge { output_max: 87 })));
    }

    /// The golden batch with other records behind its header.
    fn with_payload(count: i32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = golden::batch(Codec::None);
        bytes.truncate(batch::HEADER_BYTES);
        bytes.extend(payload);
        let length = (bytes.len() - batch::LENGTH_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        bytes
    }

    #[test]
    fn records_that_do_not_fill_their_length_are_refused() {
        let sound = [14, 0, 0, 0, 2, b'k', 1, 0];
        assert_eq!(read(&with_payload(1, &sound), 0).expect("sound").len(), 1);
        let malformed = |payload: &[u8]| {
            matches!(read(&with_payload(1, payload), 0), Err(RecordsError::Malformed { index: 0 }))
        };
        for cut in 0..sound.len() {
            assert!(malformed(&sound[..cut]), "{cut}");
        }
        assert!(malformed(&[1]), "null in place of a record");
        assert!(malformed(&[0]), "no attributes");
        assert!(malformed(&[16, 0, 0, 0, 2, b'k', 1, 0, 9]), "a byte behind the headers");
        assert!(malformed(&[12, 0, 0, 0, 1, 1, 1]), "a negative count of headers");
        assert!(malformed(&[12, 0, 0, 0, 1, 1, 126]), "more headers than bytes");
        assert!(malformed(&[16, 0, 0, 0, 1, 1, 2, 1, 1]), "a header without key");
        assert!(malformed(&[12, 0, 0, 0, 100, 1, 0]), "a key longer than its record");
        let behind = [&sound[..], &[7]].concat();
        assert!(matches!(read(&with_payload(1, &behind), 0), Err(RecordsError::TrailingBytes(1))));
        assert!(matches!(read(&with_payload(2, &sound), 0), Err(RecordsError::Malformed { index: 1 })));
        assert!(matches!(
            read(&with_payload(i32::MAX, &sound), 0),
            Err(RecordsError::Malformed { index: 1 })
        ));
    }

    fn record() -> impl Strategy<Value = Owned> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
        let headers = proptest::collection::vec(("[a-zü]{0,80}", bytes()), 0..4);
        (any::<i64>(), bytes(), bytes(), headers)
    }

    proptest! {
        #[test]
        fn what_was_built_is_read_back(records in proptest::collection::vec(record(), 1..80)) {
            for codec in Codec::ALL {
                let mut builder = BatchBuilder::new(codec);
                for (timestamp, key, value, headers) in &records {
                    let headers: Vec<_> =
                        headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
                    builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
                }
                prop_assert_eq!(builder.len(), records.len());
                let mut bytes = Vec::new();
                builder.finish(&mut bytes).expect("compresses");
                prop_assert!(RecordBatch::first(&bytes).expect("sound").expect("whole").crc_matches());
                prop_assert_eq!(&read(&bytes, 1 << 20).expect("sound"), &records);
            }
        }

        #[test]
        fn any_bytes_are_records_or_refused(
            payload in proptest::collection::vec(prop_oneof![0_u8..20, any::<u8>()], 0..200),
            count in 0..10_i32,
        ) {
            let bytes = with_payload(count, &payload);
            if let Ok(records) = read(&bytes, 0) {
                prop_assert_eq!(records.len(), count as usize);
            }
        }
    }
}
