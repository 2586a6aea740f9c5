//! What a core can be asked to do for partitions that it owns, and how it answers. All of it moves
//! between threads.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;

use super::guest::Parcel;

pub use crate::log::ReadLimits;
use crate::{
    metrics::RequestKind,
    model::{LeaderEpoch, Offset, TopicPartition},
    partition::{Acks, ActiveProducer, AppendError, Appended, FoundOffset, ReadError, ReadOutcome},
    record::Sound,
};

/// Work for the core that owns the partitions.
pub enum Work {
    /// Append these.
    Produce(ProduceWork),
    /// Read these, and wait for enough.
    Read(ReadWork),
    /// Find these offsets.
    ListOffsets(Vec<OffsetQuestion>),
    /// Find where these leader epochs ended.
    EpochEnds(Vec<EpochQuestion>),
    /// Delete the records below these offsets, or below the high watermark.
    DeleteRecords(Vec<(TopicPartition, Option<Offset>)>),
    /// Say how many bytes of batches these have, and in which data directory.
    Sizes(Vec<TopicPartition>),
    /// Say which producers these know.
    Producers(Vec<TopicPartition>),
    /// For the core's guest.
    Guest(Parcel),
}

/// The result, one item per item of the work, in its order.
pub enum Answer {
    /// Of [`Work::Produce`].
    Produce(Vec<Result<Appended, AppendError>>),
    /// Of [`Work::Read`].
    Read(ReadAnswer),
    /// Of [`Work::ListOffsets`].
    ListOffsets(Vec<Result<Option<FoundOffset>, ReadError>>),
    /// Of [`Work::EpochEnds`].
    EpochEnds(Vec<Result<Option<(LeaderEpoch, Offset)>, ReadError>>),
    /// Of [`Work::DeleteRecords`]: where the logs start then.
    DeleteRecords(Vec<Result<Offset, ReadError>>),
    /// Of [`Work::Sizes`]; none for a partition that is not here.
    Sizes(Vec<Option<(u64, PathBuf)>>),
    /// Of [`Work::Producers`].
    Producers(Vec<Result<Vec<ActiveProducer>, ReadError>>),
    /// Of [`Work::Guest`].
    Guest(Parcel),
}

impl Work {
    /// What kind of request asks for it.
    #[must_use]
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Produce(_) => RequestKind::Produce,
            Self::Read(_) => RequestKind::Fetch,
            _ => RequestKind::Other,
        }
    }
}

impl Answer {
    /// What kind of request asked for it.
    #[must_use]
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Produce(_) => RequestKind::Produce,
            Self::Read(_) => RequestKind::Fetch,
            _ => RequestKind::Other,
        }
    }
}

/// Batches of one request.
pub struct ProduceWork {
    /// One batch per partition.
    pub parts: Vec<ProducePart>,
    /// When it is done.
    pub acks: Acks,
    /// Wall clock at receipt, milliseconds since 1970.
    pub now_ms: i64,
}

/// One validated batch.
pub struct ProducePart {
    /// Where it goes.
    pub partition: TopicPartition,
    /// The producer's bytes.
    pub batch: Bytes,
    /// What validation found.
    pub sound: Sound,
}

/// Reads of one fetch.
#[derive(Clone)]
pub struct ReadWork {
    /// The partitions, in the client's order.
    pub reads: Vec<PartitionRead>,
    /// Stop reading past this; the first batch comes whatever its size.
    pub limits: ReadLimits,
    /// Wait until there are this many bytes,
    pub until_bytes: usize,
    /// but no longer than this.
    pub wait_max: Duration,
}

/// What the reads of one core found.
pub struct ReadAnswer {
    /// One for each read, in their order.
    pub results: Vec<Result<ReadOutcome, ReadError>>,
    /// How long it waited for more, in microseconds.
    pub waited_us: u64,
}

/// Where one partition is read.
#[derive(Clone)]
pub struct PartitionRead {
    /// Which.
    pub partition: TopicPartition,
    /// The first offset wanted.
    pub from: Offset,
    /// At most this many bytes of it.
    pub bytes_max: usize,
    /// The leader epoch the client knows.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// One partition of ListOffsets.
pub struct OffsetQuestion {
    /// Which.
    pub partition: TopicPartition,
    /// The leader epoch the client knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Which offset.
    pub wanted: WantedOffset,
}

/// Which offset of a partition is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedOffset {
    /// The first that can be read.
    Earliest,
    /// The next that will be readable.
    Latest,
    /// That of the record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// That of the first record with this timestamp or a later one.
    AtOrAfter(i64),
}

/// One partition of OffsetForLeaderEpoch.
pub struct EpochQuestion {
    /// Which.
    pub partition: TopicPartition,
    /// The leader epoch the client knows.
    pub current_epoch: Option<LeaderEpoch>,
    /// The epoch whose end is looked for.
    pub epoch: LeaderEpoch,
}
