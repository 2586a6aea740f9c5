//! What lies on disk: file names, the journal's frame layout, the few header fields a log reads.
//!
//! ```text
//! DATA/topics/<topic id>/<partition>/<base offset, 20 digits>.log     v2 batches back to back
//!                                    <base offset, 20 digits>.index   see index.rs
//!                                    <base offset>.<version>.log      rewritten so often by compaction
//!                                    <base offset>.<version>.index
//! DATA/shards/CURRENT                     which generation of shards is valid (generation.rs)
//! DATA/shards/<generation>-<shard>/checkpoint.{0,1}                   see checkpoint.rs
//!                                  journal.<slot>                     groups of frames
//!                                  reserve                            space for a full disk (reserve.rs)
//! DATA/reserve/<shard>                    the same, of a shard with logs here whose own directory is another
//! DATA/orphaned/                          what nobody knows: moved here, never deleted
//! ```
//!
//! A group is one write of whole blocks: frames, each starting on 8 bytes, then zeros. A frame is this
//! header, little-endian, and its payload:
//!
//! | bytes  | field            | meaning                                                              |
//! |--------|------------------|----------------------------------------------------------------------|
//! | 0..4   | `magic`          | `CLJF`                                                               |
//! | 4      | `version`        | 1                                                                    |
//! | 5      | `kind`           | what it records, see [`FrameKind`]                                   |
//! | 6      | `flags`          | 1: a segment starts with this frame's first batch                    |
//! | 7      | -                | zero                                                                 |
//! | 8..16  | `journal_id`     | random, drawn at every start: frames of an earlier life never match  |
//! | 16..24 | `sequence`       | counts the frames of one journal, without gaps                       |
//! | 24..32 | `durable_end`    | every frame below this sequence was durable when this one was built  |
//! | 32..48 | `topic`          | topic id                                                             |
//! | 48..52 | `partition`      | partition index                                                      |
//! | 52..56 | `leader_epoch`   | of the batch                                                         |
//! | 56..64 | `base_offset`    | of the batch                                                         |
//! | 64..72 | `next_offset`    | offset after the batch                                               |
//! | 72..76 | `payload_length` | in bytes, without padding                                            |
//! | 76..80 | `payload_crc`    | CRC-32C of the payload                                               |
//! | 80..84 | -                | zero                                                                 |
//! | 84..88 | `header_crc`     | CRC-32C of bytes 0..84                                               |
//!
//! The payload of an extent frame ([`Extent`]) says which whole blocks of a segment hold its batches, and
//! brings the bytes that follow them in the partial last block; little-endian:
//!
//! | bytes  | field          | meaning                                                                |
//! |--------|----------------|------------------------------------------------------------------------|
//! | 0..8   | `segment`      | base offset of the segment                                             |
//! | 8..16  | `position`     | of the first block, in the segment                                     |
//! | 16..24 | `length`       | of the blocks, in bytes                                                |
//! | 24..28 | `head`         | bytes of the first block that belong to batches before                 |
//! | 28..32 | `crc`          | CRC-32C of the blocks and the bytes that follow here                   |
//! | 32..   | `partial`      | what follows the blocks: less than one block                           |

use std::path::{Path, PathBuf};

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I32, I64, U32, U64},
};

use crate::{
    io::buffer::BLOCK,
    model::{Offset, PartitionIndex, TopicId, TopicPartition},
};

/// Bytes of a v2 batch header, from base offset to record count.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of the two fields that a batch's length does not count.
const BATCH_OVERHEAD: usize = 12;

pub(super) const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
/// Frames start on this many bytes.
pub(super) const FRAME_ALIGNMENT: usize = 8;
const FRAME_MAGIC: [u8; 4] = *b"CLJF";
const FRAME_VERSION: u8 = 1;
const STARTS_SEGMENT: u8 = 1;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FrameHeader {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    flags: u8,
    zero: u8,
    journal_id: U64,
    sequence: U64,
    durable_end: U64,
    topic: [u8; 16],
    partition: I32,
    leader_epoch: I32,
    base_offset: I64,
    next_offset: I64,
    payload_length: U32,
    payload_crc: U32,
    zero2: [u8; 4],
    header_crc: U32,
}

const HEADER_CRC_COVERS: usize = std::mem::offset_of!(FrameHeader, header_crc);
const _: () = assert!(FRAME_HEADER_BYTES == 88);
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGNMENT));
const _: () = assert!(HEADER_CRC_COVERS == 84);
const _: () = assert!(std::mem::offset_of!(FrameHeader, sequence) == 16);
const _: () = assert!(std::mem::offset_of!(FrameHeader, base_offset) == 56);
const _: () = assert!(std::mem::offset_of!(FrameHeader, payload_length) == 72);

/// What a frame records of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The payload is one v2 batch.
    Batch = 1,
    /// Batches that were written to their segment at once.
    Extent = 2,
    /// The log start offset rises to `base_offset`; no payload.
    LogStart = 3,
    /// Segments were replaced by rewritten ones.
    Replaced = 4,
    /// Written once nothing follows: its `durable_end` vouches for the frames before it, its payload says where
    /// their logs end and start.
    Vouch = 5,
}

impl FrameKind {
    fn parse(version: u8, kind: u8) -> Option<Self> {
        match (version, kind) {
            (FRAME_VERSION, 1) => Some(Self::Batch),
            (FRAME_VERSION, 2) => Some(Self::Extent),
            (FRAME_VERSION, 3) => Some(Self::LogStart),
            (FRAME_VERSION, 4) => Some(Self::Replaced),
            (FRAME_VERSION, 5) => Some(Self::Vouch),
            _ => None,
        }
    }
}

/// What a frame says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) journal_id: u64,
    pub(super) sequence: u64,
    pub(super) durable_end: u64,
    pub(super) partition: TopicPartition,
    pub(super) leader_epoch: i32,
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) payload_length: usize,
    pub(super) payload_crc: u32,
    /// `None` for a kind or version that this program does not know.
    pub(super) kind: Option<FrameKind>,
    /// Its first batch is the first of a segment: replay rolls where the log did.
    pub(super) starts_segment: bool,
}

impl Frame {
    /// A frame for one batch; the journal fills in the rest.
    pub(super) fn batch(partition: TopicPartition, leader_epoch: i32, base: Offset, next: Offset) -> Self {
        Self::new(FrameKind::Batch, partition, leader_epoch, base, next)
    }

    /// A frame for the batches of an extent, up to `next`.
    pub(super) fn extent(partition: TopicPartition, leader_epoch: i32, base: Offset, next: Offset) -> Self {
        Self::new(FrameKind::Extent, partition, leader_epoch, base, next)
    }

    /// A frame that is of no log.
    pub(super) fn vouch() -> Self {
        let nobody = TopicPartition { topic: TopicId::ZERO, partition: PartitionIndex::new(0) };
        Self::new(FrameKind::Vouch, nobody, -1, Offset::ZERO, Offset::ZERO)
    }

    /// A frame that says that the log of `partition` starts at `start` now.
    pub(super) fn log_start(partition: TopicPartition, start: Offset) -> Self {
        Self::new(FrameKind::LogStart, partition, -1, start, start)
    }

    /// A frame that says that segments of `partition`, from `base` on, were replaced; its payload says how.
    pub(super) fn replaced(partition: TopicPartition, base: Offset) -> Self {
        Self::new(FrameKind::Replaced, partition, -1, base, base)
    }

    fn new(
        kind: FrameKind,
        partition: TopicPartition,
        leader_epoch: i32,
        base: Offset,
        next: Offset,
    ) -> Self {
        Self {
            journal_id: 0,
            sequence: 0,
            durable_end: 0,
            partition,
            leader_epoch,
            base_offset: base,
            next_offset: next,
            payload_length: 0,
            payload_crc: 0,
            kind: Some(kind),
            starts_segment: false,
        }
    }

    /// Whether a frame could start with these bytes: cheaper than [`Frame::parse`].
    pub(super) fn may_start(bytes: &[u8]) -> bool {
        bytes.starts_with(&FRAME_MAGIC)
    }

    /// The header as it stands in the journal.
    pub(super) fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = FrameHeader {
            magic: FRAME_MAGIC,
            version: FRAME_VERSION,
            kind: self.kind.expect("a frame that is written is of a known kind") as u8,
            flags: if self.starts_segment { STARTS_SEGMENT } else { 0 },
            zero: 0,
            journal_id: self.journal_id.into(),
            sequence: self.sequence.into(),
            durable_end: self.durable_end.into(),
            topic: self.partition.topic.to_bytes(),
            partition: self.partition.partition.get().into(),
            leader_epoch: self.leader_epoch.into(),
            base_offset: self.base_offset.get().into(),
            next_offset: self.next_offset.get().into(),
            payload_length: (self.payload_length as u32).into(),
            payload_crc: self.payload_crc.into(),
            zero2: [0; 4],
            header_crc: 0.into(),
        };
        header.header_crc = crc32c::crc32c(&header.as_bytes()[..HEADER_CRC_COVERS]).into();
        zerocopy::transmute!(header)
    }

    /// The frame whose header starts `bytes`, if there is one and its CRC matches.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
        if header.magic != FRAME_MAGIC
            || header.header_crc.get() != crc32c::crc32c(&bytes[..HEADER_CRC_COVERS])
        {
            return None;
        }
        Some(Self {
            journal_id: header.journal_id.get(),
            sequence: header.sequence.get(),
            durable_end: header.durable_end.get(),
            partition: TopicPartition {
                topic: TopicId::from_bytes(header.topic),
                partition: PartitionIndex::new(header.partition.get()),
            },
            leader_epoch: header.leader_epoch.get(),
            base_offset: Offset::new(header.base_offset.get()),
            next_offset: Offset::new(header.next_offset.get()),
            payload_length: header.payload_length.get() as usize,
            payload_crc: header.payload_crc.get(),
            kind: FrameKind::parse(header.version, header.kind),
            starts_segment: header.flags & STARTS_SEGMENT != 0,
        })
    }

    /// Bytes from this frame's start to where the next of its group starts.
    pub(super) fn stride(&self) -> usize {
        frame_bytes(self.payload_length)
    }
}

/// Where the batches of an extent frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) segment: Offset,
    /// Of the first block.
    pub(super) position: u64,
    /// Of the blocks: whole ones.
    pub(super) length: u64,
    /// Bytes of the first block that belong to batches before.
    pub(super) head: u32,
    /// CRC-32C from the start of the first block to the end of the last batch.
    pub(super) crc: u32,
}

impl Extent {
    /// Bytes before the partial block in a payload.
    pub(super) const BYTES: usize = 32;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.segment.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.head.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// The extent and the partial block of a payload; `None` if these bytes are none.
    pub(super) fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (bytes, partial) = payload.split_first_chunk::<{ Self::BYTES }>()?;
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let segment = Offset::new(u64_at(0)? as i64);
        let (position, length) = (u64_at(8)?, u64_at(16)?);
        let (head, crc) = (u32_at(24)?, u32_at(28)?);
        let in_blocks = |bytes: u64| bytes.is_multiple_of(BLOCK as u64) && bytes <= i64::MAX as u64;
        let sound = in_blocks(position)
            && in_blocks(length)
            && u64::from(head) < length
            && (head as usize) < BLOCK
            && partial.len() < BLOCK;
        sound.then_some((Self { segment, position, length, head, crc }, partial))
    }
}

/// Bytes that a payload takes in the journal, header and padding included.
pub(super) const fn frame_bytes(payload: usize) -> usize {
    (FRAME_HEADER_BYTES + payload).next_multiple_of(FRAME_ALIGNMENT)
}

/// The fields of a batch header that a log reads. The bytes were validated before they were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) length: usize,
    pub(super) leader_epoch: i32,
    pub(super) max_timestamp: i64,
    /// Compaction keeps some batches without records: nobody's time lies in them.
    pub(super) is_empty: bool,
}

impl BatchHead {
    /// Reads a header; `None` if these bytes cannot be one.
    pub(super) fn parse(header: &[u8; BATCH_HEADER_BYTES]) -> Option<Self> {
        let i32_at =
            |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let i64_at = |at: usize| i64::from(i32_at(at)) << 32 | i64::from(i32_at(at + 4) as u32);
        let length = BATCH_OVERHEAD.checked_add(usize::try_from(i32_at(8)).ok()?)?;
        let (base, delta) = (i64_at(0), i32_at(23));
        let sound = length >= BATCH_HEADER_BYTES && header[16] == 2 && base >= 0 && delta >= 0;
        sound.then(|| Self {
            base: Offset::new(base),
            next: Offset::new(base.saturating_add(i64::from(delta) + 1)),
            length,
            leader_epoch: i32_at(12),
            max_timestamp: i64_at(35),
            is_empty: i32_at(57) == 0,
        })
    }
}

/// Directory of a partition's segments.
#[must_use]
pub fn partition_directory(data: &Path, partition: TopicPartition) -> PathBuf {
    data.join("topics").join(partition.topic.to_string()).join(partition.partition.to_string())
}

/// Name of a segment's file. `version` counts how often compaction has rewritten it.
pub(super) fn segment_name(base: Offset, version: u32) -> String {
    versioned_name(base, version, "log")
}

/// Name of a segment's index.
pub(super) fn index_name(base: Offset, version: u32) -> String {
    versioned_name(base, version, "index")
}

/// Name of the checksums of a segment.
pub(super) fn sidecar_name(base: Offset, version: u32) -> String {
    versioned_name(base, version, "crc")
}

fn versioned_name(base: Offset, version: u32, kind: &str) -> String {
    match version {
        0 => format!("{:020}.{kind}", base.get()),
        _ => format!("{:020}.{version}.{kind}", base.get()),
    }
}

/// Base offset and version in the name of a segment or its index.
pub(super) fn segment_in_name(name: &str) -> Option<(Offset, u32)> {
    let (digits, rest) = name.split_once('.')?;
    let (version, kind) = match rest.split_once('.') {
        Some((version, kind)) if version.bytes().all(|byte| byte.is_ascii_digit()) => {
            (version.parse().ok()?, kind)
        }
        _ => (0, rest),
    };
    let known = matches!(kind, "log" | "index" | "index.new" | "crc" | "crc.new" | "new");
    (known && digits.len() == 20).then(|| Some((Offset::new(digits.parse().ok()?), version)))?
}

pub(super) fn shards_directory(data: &Path) -> PathBuf {
    data.join("shards")
}

pub(super) fn shard_directory(data: &Path, generation: u64, shard: u32) -> PathBuf {
    shards_directory(data).join(format!("{generation}-{shard}"))
}

/// Where shards keep space whose own data directory is another.
pub(super) fn reserve_directory(data: &Path) -> PathBuf {
    data.join("reserve")
}

pub(super) fn journal_name(slot: u32) -> String {
    format!("journal.{slot}")
}

/// The slot in the name of a journal file.
pub(super) fn slot_in_name(name: &str) -> Option<u32> {
    name.strip_prefix("journal.")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            journal_id: 0x0102_0304_0506_0708,
            sequence: 9,
            durable_end: 7,
            partition: TopicPartition {
                topic: TopicId::from_bytes([0xAA; 16]),
                partition: PartitionIndex::new(3),
            },
            leader_epoch: 4,
            base_offset: Offset::new(100),
            next_offset: Offset::new(105),
            payload_length: 77,
            payload_crc: 0xDEAD_BEEF,
            kind: Some(FrameKind::Batch),
            starts_segment: false,
        }
    }

    #[test]
    fn a_frame_header_has_these_bytes() {
        let hex: String = frame().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = concat!(
            "434c4a46",
            "01",
            "01",
            "0000",
            "0807060504030201",
            "0900000000000000",
            "0700000000000000",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "03000000",
            "04000000",
            "6400000000000000",
            "6900000000000000",
            "4d000000",
            "efbeadde",
            "00000000",
        );
        assert_eq!(hex[..168], *golden);
        let crc = crc32c::crc32c(&frame().to_bytes()[..84]);
        assert_eq!(frame().to_bytes()[84..], crc.to_le_bytes());
    }

    #[test]
    fn a_frame_reads_back_and_no_changed_header_byte_goes_unseen() {
        let bytes = frame().to_bytes();
        assert_eq!(Frame::parse(&bytes), Some(frame()));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Frame::parse(&changed), None, "byte {at}");
        }
        assert_eq!(Frame::parse(&bytes[..87]), None);
    }

    #[test]
    fn an_extent_reads_back_and_one_that_is_no_whole_blocks_is_refused() {
        let extent =
            Extent { segment: Offset::new(7), position: 8192, length: 12288, head: 100, crc: 0xAABB_CCDD };
        let mut payload = extent.to_bytes().to_vec();
        payload.extend_from_slice(b"partial");
        assert_eq!(Extent::parse(&payload), Some((extent, &b"partial"[..])));
        assert_eq!(Extent::parse(&payload[..31]), None);
        for broken in [
            Extent { position: 100, ..extent },
            Extent { length: 100, ..extent },
            Extent { length: 0, ..extent },
            Extent { head: 4096, ..extent },
        ] {
            assert_eq!(Extent::parse(&broken.to_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn names_read_back() {
        let base = Offset::new(1234);
        assert_eq!(segment_name(base, 0), "00000000000000001234.log");
        assert_eq!(index_name(base, 7), "00000000000000001234.7.index");
        for version in [0, 1, 12] {
            assert_eq!(segment_in_name(&segment_name(base, version)), Some((base, version)));
            assert_eq!(segment_in_name(&index_name(base, version)), Some((base, version)));
        }
        assert_eq!(segment_in_name("00000000000000001234.7.new"), Some((base, 7)));
        assert_eq!(segment_in_name("00000000000000001234.x.log"), None);
        assert_eq!(segment_in_name("partition.metadata"), None);
        assert_eq!(slot_in_name(&journal_name(3)), Some(3));
    }
}
