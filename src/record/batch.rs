//! Borrowed view of one record batch, and the few fields a broker may write.
//!
//! All fields are big-endian:
//!
//! | bytes  | field                  | meaning                                                         |
//! |--------|------------------------|-----------------------------------------------------------------|
//! | 0..8   | base offset            | offset of the first record, set by the broker                   |
//! | 8..12  | batch length           | bytes from here to the end of the batch                         |
//! | 12..16 | partition leader epoch | set by the broker                                               |
//! | 16     | magic                  | 2                                                               |
//! | 17..21 | CRC-32C                | of bytes 21 to the end                                          |
//! | 21..23 | attributes             | 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon |
//! | 23..27 | last offset delta      | last offset minus base offset; kept by compaction               |
//! | 27..35 | base timestamp         | records' timestamps are relative to it                          |
//! | 35..43 | max timestamp          | or the append time, if bit 3 is set                             |
//! | 43..51 | producer id            | -1 for none                                                     |
//! | 51..53 | producer epoch         | -1 for none                                                     |
//! | 53..57 | base sequence          | of the first record, -1 for none                                |
//! | 57..61 | record count           |                                                                 |
//! | 61..   | records                | compressed as a whole                                           |
//!
//! Base offset and leader epoch may be rewritten under a valid CRC, because they lie before the bytes it
//! covers. A change of any other field needs a new one.
//!
//! Source: Kafka documentation, Implementation, 5.3.1 "Record Batch".

use corelane_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampType};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    byteorder::big_endian::{I16, I32, I64, U32},
};

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;
/// Bytes that the batch length does not count: base offset and the length itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// The only format that is stored.
pub const MAGIC: i8 = 2;

const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// First byte the CRC covers.
const ATTRIBUTES_AT: usize = 21;

pub(crate) const CODEC_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
pub(crate) const TRANSACTIONAL_BIT: i16 = 0x10;
pub(crate) const CONTROL_BIT: i16 = 0x20;
/// The base timestamp is the batch's delete horizon (KIP-534).
pub(crate) const DELETE_HORIZON_BIT: i16 = 0x40;

/// The 61 bytes as they stand on wire and disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub base_offset: I64,
    pub batch_length: I32,
    pub leader_epoch: I32,
    pub magic: i8,
    pub crc: U32,
    pub attributes: I16,
    pub last_offset_delta: I32,
    pub base_timestamp: I64,
    pub max_timestamp: I64,
    pub producer_id: I64,
    pub producer_epoch: I16,
    pub base_sequence: I32,
    pub record_count: I32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(Header, magic) == MAGIC_AT);
const _: () = assert!(std::mem::offset_of!(Header, crc) == CRC_AT);
const _: () = assert!(std::mem::offset_of!(Header, attributes) == ATTRIBUTES_AT);
// The broker sets these two without a new CRC.
const _: () = assert!(std::mem::offset_of!(Header, base_offset) < CRC_AT);
const _: () = assert!(std::mem::offset_of!(Header, leader_epoch) < CRC_AT);

/// Why bytes are no record batch. The same bytes will fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Formats 0 and 1 went with Kafka 4; others never were.
    #[error("record batch has magic {0}, only 2 is supported")]
    Magic(i8),
    /// A length no header fits in.
    #[error("record batch declares an impossible length of {0} bytes")]
    Length(i32),
    /// A count of records or an offset delta below zero.
    #[error("record batch has a negative record count or last offset delta")]
    NegativeCount,
    /// The last offset would lie past `i64::MAX`.
    #[error("record batch at base offset {base} ends past the largest offset")]
    OffsetOverflow {
        /// Where it would start.
        base: Offset,
    },
    /// Attributes name a codec that does not exist.
    #[error("record batch has the unknown codec {0}")]
    Codec(u8),
    /// One whole batch was expected.
    #[error("{0} bytes are not one whole record batch")]
    Partial(usize),
}

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Plain.
    None,
    /// gzip.
    Gzip,
    /// snappy, xerial framing.
    Snappy,
    /// lz4 frame.
    Lz4,
    /// zstd.
    Zstd,
}

impl Codec {
    /// All of them, by their number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The codec of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Borrowed view of exactly one whole batch whose header is possible; its CRC and records are unchecked.
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    header: &'a Header,
    bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// The first batch in `bytes`, or `None` if they end before it does.
    ///
    /// # Errors
    /// [`BatchError`] if no batch can start with such a header.
    pub fn first(bytes: &'a [u8]) -> Result<Option<Self>, BatchError> {
        // Older formats have their magic at the same place, but another header behind it.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::Magic(magic as i8));
        }
        let Some(length) = bytes.get(8..LENGTH_OVERHEAD).and_then(|length| length.try_into().ok()) else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(length);
        let whole = usize::try_from(length).map_or(0, |length| length + LENGTH_OVERHEAD);
        if whole < HEADER_BYTES {
            return Err(BatchError::Length(length));
        }
        let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        if header.record_count.get() < 0 || header.last_offset_delta.get() < 0 {
            return Err(BatchError::NegativeCount);
        }
        let base = Offset::new(header.base_offset.get());
        if base.checked_add(i64::from(header.last_offset_delta.get()) + 1).is_none() {
            return Err(BatchError::OffsetOverflow { base });
        }
        Ok(bytes.get(..whole).map(|bytes| Self { header, bytes }))
    }

    /// The whole batch.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.header.base_offset.get())
    }

    /// Offset of the last record, or of the last one there was before compaction.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset::new(self.header.base_offset.get() + i64::from(self.last_offset_delta()))
    }

    /// Offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset::new(self.header.base_offset.get() + i64::from(self.last_offset_delta()) + 1)
    }

    /// Epoch of the leader that appended the batch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(self.header.leader_epoch.get())
    }

    /// The format: always 2.
    #[must_use]
    pub fn magic(&self) -> i8 {
        self.header.magic
    }

    /// The CRC-32C that the header says.
    #[must_use]
    pub fn stored_crc(&self) -> u32 {
        self.header.crc.get()
    }

    /// The CRC-32C of the bytes it covers.
    #[must_use]
    pub fn computed_crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes[ATTRIBUTES_AT..])
    }

    /// Whether both are the same.
    #[must_use]
    pub fn crc_matches(&self) -> bool {
        self.stored_crc() == self.computed_crc()
    }

    /// The attributes as they stand.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        self.header.attributes.get()
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::Codec`] if no codec has that number.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let number = (self.attributes() & CODEC_BITS) as u8;
        Codec::from_number(number).ok_or(BatchError::Codec(number))
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds markers of the broker, not records of clients.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// Whose clock the timestamps are of.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Last offset minus base offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        self.header.last_offset_delta.get()
    }

    /// What the records' timestamps are relative to, in ms since 1970; -1 for none.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        self.header.base_timestamp.get()
    }

    /// From when on compaction may drop the batch's tombstones, or the marker it holds, in ms since 1970
    /// (KIP-534). Set by compaction alone.
    #[must_use]
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// Largest timestamp, or the append time, in ms since 1970; -1 for none.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp.get()
    }

    /// Whose batch it is; [`ProducerId::NONE`] for nobody's.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(self.header.producer_id.get())
    }

    /// The producer's incarnation.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch::new(self.header.producer_epoch.get())
    }

    /// Sequence of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        Sequence::new(self.header.base_sequence.get())
    }

    /// How many records the batch holds; 0 in an empty one that compaction keeps.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.header.record_count.get()
    }

    /// The records as they stand, compressed or not.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// All whole batches in `bytes`, in order. Ends at a partial tail, and after the first error.
pub fn batches(bytes: &[u8]) -> impl Iterator<Item = Result<RecordBatch<'_>, BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let next = RecordBatch::first(rest).transpose()?;
        rest = match &next {
            Ok(batch) => &rest[batch.bytes.len()..],
            Err(_) => &[],
        };
        Some(next)
    })
}

/// The header of one whole batch, to be written.
fn header_mut(batch: &mut [u8]) -> Result<&mut Header, BatchError> {
    let given = batch.len();
    match RecordBatch::first(batch)? {
        Some(whole) if whole.bytes.len() == given => {}
        _ => return Err(BatchError::Partial(given)),
    }
    Header::mut_from_prefix(batch).map(|(header, _)| header).map_err(|_| BatchError::Partial(given))
}

/// Writes the two broker-owned fields into a whole batch, in place.
///
/// Returns the offset after the batch: the log end offset once it is appended. The CRC stays valid.
///
/// # Errors
/// [`BatchError::OffsetOverflow`] if the batch would end past `i64::MAX`, others if `batch` is not exactly
/// one batch; no byte is changed.
pub fn stamp(batch: &mut [u8], base: Offset, epoch: LeaderEpoch) -> Result<Offset, BatchError> {
    header_mut(batch)?; // exactly one batch
    let (header, _) = batch.split_first_chunk_mut().ok_or(BatchError::Partial(0))?;
    stamp_header(header, base, epoch)
}

/// As [`stamp`], for the header of a batch whose records lie elsewhere: the log copies both to their
/// places anyway, so the producer's own bytes need not be copied to be stamped.
///
/// # Errors
/// [`BatchError::OffsetOverflow`] if the batch would end past `i64::MAX`; no byte is changed.
pub fn stamp_header(
    header: &mut [u8; HEADER_BYTES],
    base: Offset,
    epoch: LeaderEpoch,
) -> Result<Offset, BatchError> {
    let header: &mut Header = zerocopy::transmute_mut!(header);
    let span = i64::from(header.last_offset_delta.get()) + 1;
    let end = base.checked_add(span).ok_or(BatchError::OffsetOverflow { base })?;
    header.base_offset.set(base.get());
    header.leader_epoch.set(epoch.get());
    Ok(end)
}

/// What a stored header says of idempotence, and where its batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredHeader {
    /// Whose batch it is, with the sequence of its first record; `None` if it is not idempotent.
    pub producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    /// Offset of the last record less that of the first.
    pub last_offset_delta: i32,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Largest timestamp, in ms since 1970.
    pub max_timestamp: i64,
    /// Bytes of the whole batch.
    pub length: usize,
}

impl StoredHeader {
    /// Reads a header of a batch that is stored.
    #[must_use]
    pub fn of(header: &[u8; HEADER_BYTES]) -> Self {
        let header: &Header = zerocopy::transmute_ref!(header);
        let id = ProducerId::new(header.producer_id.get());
        let producer =
            (id, ProducerEpoch::new(header.producer_epoch.get()), Sequence::new(header.base_sequence.get()));
        let last_offset_delta = header.last_offset_delta.get();
        Self {
            producer: (id != ProducerId::NONE).then_some(producer),
            last_offset_delta,
            last_offset: Offset::new(header.base_offset.get().saturating_add(last_offset_delta.into())),
            max_timestamp: header.max_timestamp.get(),
            length: LENGTH_OVERHEAD + header.batch_length.get() as usize,
        }
    }
}

/// Writes the largest timestamp, in ms since 1970, and the CRC over it.
///
/// # Errors
/// [`BatchError`] if `batch` is not exactly one batch; no byte is changed.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp_ms: i64) -> Result<(), BatchError> {
    let header = header_mut(batch)?;
    header.max_timestamp.set(max_timestamp_ms);
    write_crc(batch);
    Ok(())
}

/// Makes `append_time_ms`, in ms since 1970, the time of every record of the batch; writes the CRC over it.
///
/// The records keep the producer's times; readers take the header's, because its attributes say so.
///
/// # Errors
/// [`BatchError`] if `batch` is not exactly one batch; no byte is changed.
pub fn set_log_append_time(batch: &mut [u8], append_time_ms: i64) -> Result<(), BatchError> {
    let header = header_mut(batch)?;
    header.attributes.set(header.attributes.get() | LOG_APPEND_TIME_BIT);
    header.max_timestamp.set(append_time_ms);
    write_crc(batch);
    Ok(())
}

/// Writes codec and length of a batch whose records have been replaced, and the CRC over it.
pub(crate) fn set_codec_and_length(batch: &mut [u8], codec: Codec, batch_length: usize) {
    let (header, _) = Header::mut_from_prefix(batch).expect("a batch begins with its header");
    header.attributes.set(header.attributes.get() & !CODEC_BITS | i16::from(codec.number()));
    header.batch_length.set(i32::try_from(batch_length).expect("a batch is far below 2 GiB"));
    write_crc(batch);
}

/// Writes the CRC of a whole batch.
pub(crate) fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::golden;

    fn only(bytes: &[u8]) -> RecordBatch<'_> {
        RecordBatch::first(bytes).expect("a possible header").expect("a whole batch")
    }

    #[test]
    fn every_header_field_of_kafkas_batch_is_read_from_its_place() {
        for codec in Codec::ALL {
            let bytes = golden::batch(codec);
            let batch = only(&bytes);
            assert_eq!(batch.as_bytes(), bytes);
            assert_eq!(batch.base_offset(), Offset::new(7));
            assert_eq!(batch.last_offset(), Offset::new(9));
            assert_eq!(batch.next_offset(), Offset::new(10));
            assert_eq!(batch.leader_epoch(), LeaderEpoch::new(5));
            assert_eq!(batch.magic(), 2);
            assert!(batch.crc_matches(), "{codec:?}");
            assert_eq!(batch.attributes(), i16::from(codec.number()));
            assert_eq!(batch.codec(), Ok(codec));
            assert_eq!(batch.last_offset_delta(), 2);
            assert_eq!(batch.base_timestamp(), 1_700_000_000_000);
            assert_eq!(batch.max_timestamp(), 1_700_000_000_500);
            assert_eq!(batch.producer_id(), ProducerId::new(4242));
            assert_eq!(batch.producer_epoch(), ProducerEpoch::new(3));
            assert_eq!(batch.base_sequence(), Sequence::new(11));
            assert_eq!(batch.record_count(), 3);
            assert_eq!(batch.timestamp_type(), TimestampType::CreateTime);
            assert!(!batch.is_transactional() && !batch.is_control());
            assert_eq!(batch.payload().len(), bytes.len() - HEADER_BYTES);
        }
    }

    #[test]
    fn stamping_keeps_the_crc_valid_and_touches_nothing_else() {
        let original = golden::batch(Codec::None);
        let mut bytes = original.clone();
        let next = stamp(&mut bytes, Offset::new(1 << 40), LeaderEpoch::new(77));
        assert_eq!(next, Ok(Offset::new((1 << 40) + 3)));
        let batch = only(&bytes);
        assert!(batch.crc_matches());
        assert_eq!((batch.base_offset().get(), batch.leader_epoch().get()), (1 << 40, 77));
        assert_eq!(bytes[8..12], original[8..12]);
        assert_eq!(bytes[16..], original[16..]);
    }

    #[test]
    fn a_batch_that_would_end_past_the_largest_offset_is_left_as_it_was() {
        let original = golden::batch(Codec::None);
        let mut bytes = original.clone();
        let base = Offset::new(i64::MAX - 2);
        assert_eq!(stamp(&mut bytes, base, LeaderEpoch::FIRST), Err(BatchError::OffsetOverflow { base }));
        assert_eq!(bytes, original);
        assert!(stamp(&mut bytes, Offset::new(i64::MAX - 3), LeaderEpoch::FIRST).is_ok());
    }

    #[test]
    fn a_new_timestamp_gets_a_new_crc() {
        let mut bytes = golden::batch(Codec::Lz4);
        set_max_timestamp(&mut bytes, 99).expect("one batch");
        assert!(only(&bytes).crc_matches());
        assert_eq!(only(&bytes).max_timestamp(), 99);
        assert_eq!(only(&bytes).timestamp_type(), TimestampType::CreateTime);
        set_log_append_time(&mut bytes, 123).expect("one batch");
        assert!(only(&bytes).crc_matches());
        assert_eq!(only(&bytes).max_timestamp(), 123);
        assert_eq!(only(&bytes).timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(only(&bytes).codec(), Ok(Codec::Lz4));
    }

    #[test]
    fn bytes_that_end_too_early_are_no_batch_yet_at_every_length() {
        let bytes = golden::batch(Codec::None);
        for cut in 0..bytes.len() {
            assert!(RecordBatch::first(&bytes[..cut]).expect("nothing wrong").is_none(), "{cut}");
            let mut partial = bytes[..cut].to_vec();
            assert!(stamp(&mut partial, Offset::ZERO, LeaderEpoch::FIRST).is_err(), "{cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            stamp(&mut longer.clone(), Offset::ZERO, LeaderEpoch::FIRST),
            Err(BatchError::Partial(longer.len()))
        );
    }

    #[test]
    fn batches_back_to_back_are_read_up_to_the_partial_tail() {
        let [first, second] = [golden::batch(Codec::None), golden::batch(Codec::Zstd)];
        let bytes = [&first[..], &second[..], &first[..80]].concat();
        let read: Vec<_> = batches(&bytes).map(|batch| batch.expect("sound").as_bytes().len()).collect();
        assert_eq!(read, [first.len(), second.len()]);
        let mut broken = bytes.clone();
        broken[first.len() + MAGIC_AT] = 1;
        let read: Vec<_> = batches(&broken).map(|batch| batch.err()).collect();
        assert_eq!(read, [None, Some(BatchError::Magic(1))]);
    }

    #[test]
    fn impossible_headers_are_refused() {
        let change = |at: usize, bytes: &[u8]| {
            let mut batch = golden::batch(Codec::None);
            batch[at..at + bytes.len()].copy_from_slice(bytes);
            RecordBatch::first(&batch).err()
        };
        assert_eq!(change(8, &48_i32.to_be_bytes()), Some(BatchError::Length(48)));
        assert_eq!(change(8, &(-1_i32).to_be_bytes()), Some(BatchError::Length(-1)));
        assert_eq!(change(8, &i32::MAX.to_be_bytes()), None);
        assert_eq!(change(16, &[0]), Some(BatchError::Magic(0)));
        assert_eq!(change(16, &[0xff]), Some(BatchError::Magic(-1)));
        assert_eq!(change(23, &(-1_i32).to_be_bytes()), Some(BatchError::NegativeCount));
        assert_eq!(change(57, &(-1_i32).to_be_bytes()), Some(BatchError::NegativeCount));
        let base = Offset::new(i64::MAX);
        assert_eq!(change(0, &i64::MAX.to_be_bytes()), Some(BatchError::OffsetOverflow { base }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_batches_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            length in 40_u8..100,
            plausible: bool,
        ) {
            if plausible && bytes.len() > MAGIC_AT {
                bytes[8..12].copy_from_slice(&[0, 0, 0, length]);
                bytes[MAGIC_AT] = 2;
            }
            let mut read = 0;
            for batch in batches(&bytes).flatten() {
                read += batch.as_bytes().len();
                prop_assert!(batch.as_bytes().len() >= HEADER_BYTES);
                prop_assert!(batch.base_offset() <= batch.last_offset());
                let _ = (batch.crc_matches(), batch.codec());
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
