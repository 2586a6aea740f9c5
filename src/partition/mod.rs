//! One replica of one partition: append, read, what clients may see.
//!
//! It knows the log below it and the record batch; it knows no socket, no request, no error code, and
//! not which connection waits. Read [`offsets`] (the offsets and their order), [`producer_state`]
//! (idempotence), [`waiters`] (who waits for what), then this file.

pub mod offsets;
pub mod producer_state;
pub mod waiters;

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    io::signal::Signal,
    log::{AppendInfo, LogError, LogId, Piece, ReadLimits, RecoveredLog, Store},
    model::{LeaderEpoch, Offset, ProducerId, TopicPartition, TopicSettings},
    record::{self, HEADER_BYTES, RecordBatch, Sound, StoredHeader},
};

use offsets::PartitionOffsets;
pub use producer_state::ActiveProducer;
use producer_state::{ProducerBatch, ProducerStates, Verdict};
use waiters::{FetchWaiters, Gate, ProduceWaiters};

/// When a produce is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Never: the client does not listen.
    None,
    /// Once the write has completed.
    Leader,
    /// Once it is as safe as the topic's class demands, on every in-sync replica.
    All,
}

/// Why an append was not taken. Which partition it was, the caller knows and adds.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing written. The client asks the new leader.
    #[error("not the leader of the partition")]
    NotLeader,
    /// Nothing written. A batch before this one is missing; the client resends from there.
    #[error("out of order sequence number: {got}, expected {expected}")]
    OutOfOrderSequence {
        /// The batch's first sequence.
        got: i32,
        /// The one that was due.
        expected: i32,
    },
    /// Nothing written. Another incarnation of the producer has taken over.
    #[error("producer epoch {got} is older than {current}")]
    InvalidProducerEpoch {
        /// The batch's epoch.
        got: i16,
        /// The newest one seen.
        current: i16,
    },
    /// Nothing written. The offsets of the partition are used up.
    #[error("offsets would pass the largest")]
    OffsetsExhausted,
    /// The log takes no appends: unknown what reached the disk, or the disk is full.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An append that was taken, or had been taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// First offset a client may read.
    pub log_start_offset: Offset,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The partition is not on this core, or not on this broker. The client asks the leader.
    #[error("not the leader of the partition")]
    NotLeader,
    /// The offset is below the log's start or above its end.
    #[error("offset {offset} is out of range {log_start_offset}..={log_end_offset}")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// First offset there is.
        log_start_offset: Offset,
        /// Next offset there will be.
        log_end_offset: Offset,
    },
    /// The client knows an older leader.
    #[error("leader epoch {got} is older than {current}")]
    FencedLeaderEpoch {
        /// The client's.
        got: LeaderEpoch,
        /// Ours.
        current: LeaderEpoch,
    },
    /// The client knows a newer leader than we do.
    #[error("leader epoch {got} is newer than {current}")]
    UnknownLeaderEpoch {
        /// The client's.
        got: LeaderEpoch,
        /// Ours.
        current: LeaderEpoch,
    },
    /// The disk failed, or the range is quarantined.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a read found: whole batches as they lie in the log, and the partition's offsets.
#[derive(Debug, Clone)]
pub struct ReadOutcome {
    /// The batches, as slices of the log or ranges of its files; the first may begin below the offset
    /// asked for.
    pub records: Vec<Piece>,
    /// The offsets at the time of the read.
    pub offsets: PartitionOffsets,
    /// The offset asked for.
    from: Offset,
}

impl ReadOutcome {
    /// Bytes of records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Piece::len).sum()
    }

    /// Whether more was there than is in the answer: limits kept it out, and waiting will not change that.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        // Ranges are of sealed segments: others follow.
        let in_memory = self.records.iter().all(|piece| matches!(piece, Piece::Memory(_)));
        !in_memory || self.next_offset() < self.offsets.high_watermark
    }

    /// The offset after the last batch, of an answer in memory. Pieces end anywhere.
    fn next_offset(&self) -> Offset {
        let (mut header, mut filled, mut skip, mut next) = ([0; HEADER_BYTES], 0, 0, self.from);
        for piece in &self.records {
            let Piece::Memory(piece) = piece else { continue };
            let mut rest = &piece[..];
            while skip < rest.len() {
                rest = &rest[skip..];
                let count = (HEADER_BYTES - filled).min(rest.len());
                header[filled..filled + count].copy_from_slice(&rest[..count]);
                (filled, skip, rest) = (filled + count, 0, &rest[count..]);
                if filled == HEADER_BYTES {
                    let StoredHeader { length, last_offset, .. } = StoredHeader::of(&header);
                    (filled, skip) = (0, length.saturating_sub(HEADER_BYTES));
                    next = Offset::new(last_offset.get() + 1);
                }
            }
            skip -= rest.len();
        }
        next
    }

    /// The records, of a read that wanted all of them in memory.
    ///
    /// # Panics
    /// If some are ranges of files.
    #[must_use]
    pub fn in_memory(self) -> Vec<Bytes> {
        let bytes = |piece| match piece {
            Piece::Memory(bytes) => bytes,
            Piece::File(_) => panic!("a range of a file, but the read wanted memory"),
        };
        self.records.into_iter().map(bytes).collect()
    }

    /// Bytes of records that it holds in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let memory = self.records.iter().filter(|piece| matches!(piece, Piece::Memory(_)));
        memory.map(Piece::len).sum()
    }
}

/// What ListOffsets finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp, -1 where none was asked for.
    pub timestamp: i64,
    /// The leader that wrote it.
    pub leader_epoch: LeaderEpoch,
}

/// One replica.
pub struct Partition {
    id: TopicPartition,
    log: LogId,
    store: Rc<Store>,
    state: RefCell<State>,
}

struct State {
    offsets: PartitionOffsets,
    leader_epoch: LeaderEpoch,
    producers: ProducerStates,
    settings: Arc<TopicSettings>,
    written: ProduceWaiters,
    safe: ProduceWaiters,
    fetches: FetchWaiters,
    failed: Option<Failure>,
}

/// Why a partition can do nothing more.
#[derive(Debug, Clone)]
pub enum Failure {
    /// Its disk has failed, and how.
    Disk(String),
    /// Its topic has been deleted, or it has moved to another core.
    Gone,
}

impl From<Failure> for LogError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disk(why) => Self::Failed { why },
            Failure::Gone => Self::UnknownLog,
        }
    }
}

impl Partition {
    /// A partition on the log that recovery found, or on a new one. Producers expire after
    /// `producer_expiration_ms`; those of whom only batches are left are as if they had sent them at `now_ms`.
    #[must_use]
    pub fn new(
        recovered: &RecoveredLog,
        store: Rc<Store>,
        epoch: LeaderEpoch,
        settings: Arc<TopicSettings>,
        producer_expiration_ms: i64,
        now_ms: i64,
    ) -> Self {
        let partition = recovered.partition;
        let mut producers = ProducerStates::from_bytes(&recovered.snapshot, producer_expiration_ms)
            .unwrap_or_else(|error| {
                // Resent batches may then be stored twice; nothing else depends on it.
                tracing::error!(%partition, %error, "producer state is lost");
                ProducerStates::new(producer_expiration_ms)
            });
        for header in &recovered.replayed {
            let header = StoredHeader::of(header);
            if let Some(batch) = producer_batch(&header) {
                producers.appended(&batch, header.last_offset, now_ms);
            }
        }
        let offsets = PartitionOffsets::recovered(recovered.log_start_offset, recovered.log_end_offset);
        let state = State {
            offsets,
            leader_epoch: epoch,
            producers,
            settings,
            written: ProduceWaiters::default(),
            safe: ProduceWaiters::default(),
            fetches: FetchWaiters::default(),
            failed: None,
        };
        Self { id: partition, log: recovered.log, store, state: RefCell::new(state) }
    }

    /// Which partition this is.
    #[must_use]
    pub fn id(&self) -> TopicPartition {
        self.id
    }

    /// Its log in the store.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Takes over changed settings and leadership.
    pub fn update(&self, epoch: LeaderEpoch, settings: Arc<TopicSettings>) {
        let mut state = self.state.borrow_mut();
        state.leader_epoch = epoch;
        state.settings = settings;
    }

    /// Appends one validated batch, and counts `gate` until it is as safe as `acks` says.
    ///
    /// The offsets are fixed when this returns. `batch` is the producer's, with base offset and leader
    /// epoch still to be stamped; the log gets a stamped header and the producer's own bytes behind it.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is stored then.
    pub fn append(
        &self,
        batch: &Bytes,
        sound: &Sound,
        acks: Acks,
        gate: &Rc<Gate>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let Some(failure) = &state.failed {
            return Err(AppendError::Log(failure.clone().into()));
        }
        let producer = sound.producer.map(|(id, epoch, first)| ProducerBatch {
            id,
            epoch,
            first,
            last_offset_delta: sound.next_offset_delta as i32 - 1,
        });
        if let Some(producer) = &producer {
            match state.producers.judge(producer, now_ms) {
                Verdict::Append => {}
                Verdict::Duplicate { base_offset, last_offset } => {
                    let end = Offset::new(last_offset.get() + 1);
                    state.wait(end, acks, gate);
                    let log_start_offset = state.offsets.log_start_offset;
                    return Ok(Appended { base_offset, end, log_start_offset });
                }
                Verdict::OutOfOrder { expected } => {
                    let (got, expected) = (producer.first.get(), expected.get());
                    return Err(AppendError::OutOfOrderSequence { got, expected });
                }
                Verdict::Fenced { current } => {
                    let (got, current) = (producer.epoch.get(), current.get());
                    return Err(AppendError::InvalidProducerEpoch { got, current });
                }
            }
        }
        let base_offset = state.offsets.log_end_offset;
        let (header, records) = batch.split_first_chunk().expect("a validated batch has a header");
        let mut header: [u8; record::HEADER_BYTES] = *header;
        let end = record::stamp_header(&mut header, base_offset, state.leader_epoch)
            .map_err(|_| AppendError::OffsetsExhausted)?;
        let info = AppendInfo {
            next_offset: end,
            leader_epoch: state.leader_epoch,
            max_timestamp: sound.max_timestamp,
            durable: acks == Acks::All && !state.settings.write_caching,
            now_ms,
        };
        self.store.append_parts(self.log, [&header, records], info)?;
        state.offsets.appended(end);
        if let Some(producer) = &producer {
            state.producers.appended(producer, Offset::new(end.get() - 1), now_ms);
        }
        state.wait(end, acks, gate);
        Ok(Appended { base_offset, end, log_start_offset: state.offsets.log_start_offset })
    }

    /// The producers that have written lately.
    #[must_use]
    pub fn active_producers(&self, now_ms: i64) -> Vec<ActiveProducer> {
        self.state.borrow().producers.active(now_ms)
    }

    /// Why the partition has failed, if it has: asked after a gate has opened.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        self.state.borrow().failed.clone().map(LogError::from)
    }

    /// The journal has come this far.
    pub fn progressed(&self, written_end: Offset, durable_end: Offset) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let moved = state.offsets.progressed(written_end, durable_end, state.settings.write_caching);
        state.written.progressed(state.offsets.written_end);
        if moved {
            state.safe.progressed(state.offsets.high_watermark);
            state.fetches.notify();
        }
        if state.offsets.written_end > state.offsets.high_watermark && !state.fetches.is_empty() {
            self.store.request_flush();
        }
    }

    /// Retention has raised the log start.
    pub fn log_start_raised(&self, start: Offset) {
        self.state.borrow_mut().offsets.raise_log_start(start);
    }

    /// Deletes the records below `before`, or below the high watermark if that is not said. Says where the log
    /// starts then, durably.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] above the high watermark; nothing is deleted.
    pub async fn delete_records(&self, before: Option<Offset>) -> Result<Offset, ReadError> {
        let end = self.settled_high_watermark().await?;
        let before = before.unwrap_or(end);
        let PartitionOffsets { log_start_offset, log_end_offset, .. } = self.offsets();
        if before > end {
            return Err(ReadError::OutOfRange { offset: before, log_start_offset, log_end_offset });
        }
        self.store.raise_log_start(self.log, before).await?;
        self.log_start_raised(before);
        Ok(self.offsets().log_start_offset)
    }

    /// The log below has failed: whoever waits is let through and finds the failure.
    pub fn failed(&self, failure: Failure) {
        let mut state = self.state.borrow_mut();
        state.failed = Some(failure);
        state.written.release_all();
        state.safe.release_all();
        state.fetches.notify();
    }

    /// The producers' state, for the checkpoint.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.borrow().producers.to_bytes()
    }

    /// The last offset of each producer's last batch.
    #[must_use]
    pub fn last_offsets(&self) -> HashMap<ProducerId, Offset> {
        self.state.borrow().producers.last_offsets().collect()
    }

    /// The offsets as they stand.
    #[must_use]
    pub fn offsets(&self) -> PartitionOffsets {
        self.state.borrow().offsets
    }

    /// Refuses a reader who knows another leader. `None`: the reader does not say.
    ///
    /// # Errors
    /// The reader's view is older or newer than ours.
    pub fn validate_epoch(&self, known: Option<LeaderEpoch>) -> Result<LeaderEpoch, ReadError> {
        let current = self.state.borrow().leader_epoch;
        match known {
            Some(got) if got < current => Err(ReadError::FencedLeaderEpoch { got, current }),
            Some(got) if got > current => Err(ReadError::UnknownLeaderEpoch { got, current }),
            _ => Ok(current),
        }
    }

    /// Reads whole batches from `from` up to the high watermark.
    ///
    /// At most as `limits` says, but with `at_least_one` the first batch whatever its size (KIP-74).
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        &self,
        from: Offset,
        limits: ReadLimits,
        at_least_one: bool,
    ) -> Result<ReadOutcome, ReadError> {
        let offsets = self.offsets();
        if from < offsets.log_start_offset || from > offsets.log_end_offset {
            let (log_start_offset, log_end_offset) = (offsets.log_start_offset, offsets.log_end_offset);
            return Err(ReadError::OutOfRange { offset: from, log_start_offset, log_end_offset });
        }
        let records = if from >= offsets.high_watermark || limits.bytes_max == 0 && !at_least_one {
            Vec::new()
        } else {
            self.store.read_pieces(self.log, from, offsets.high_watermark, limits, at_least_one).await?
        };
        Ok(ReadOutcome { records, offsets, from })
    }

    /// Notifies `waiter` when the high watermark moves, and makes sure that it will.
    pub fn wait_for_more(&self, waiter: &Rc<Signal>) {
        let mut state = self.state.borrow_mut();
        state.fetches.wait(waiter);
        if state.failed.is_some() {
            waiter.raise();
        }
        if state.offsets.written_end > state.offsets.high_watermark {
            self.store.request_flush();
        }
    }

    /// Lets waiting fetches look again, for another reason than more bytes.
    pub fn wake_fetches(&self) {
        self.state.borrow_mut().fetches.notify();
    }

    /// The high watermark, once it covers all that was acknowledged so far: who was told of a record
    /// finds it below the "latest" offset.
    ///
    /// # Errors
    /// The log has failed meanwhile.
    pub async fn settled_high_watermark(&self) -> Result<Offset, ReadError> {
        let written = self.offsets().written_end;
        let waiter = Rc::new(Signal::default());
        while self.offsets().high_watermark < written {
            if let Some(error) = self.failure() {
                return Err(error.into());
            }
            self.wait_for_more(&waiter);
            waiter.seen().await;
        }
        Ok(self.offsets().high_watermark)
    }

    /// The first record whose timestamp is `timestamp` or later, below the high watermark.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn first_at_or_after(&self, timestamp: i64) -> Result<Option<FoundOffset>, ReadError> {
        let end = self.settled_high_watermark().await?;
        let Some(batch) = self.store.batch_for_time(self.log, timestamp, end).await? else { return Ok(None) };
        Ok(self.record_in(&batch, |found| found >= timestamp))
    }

    /// The record with the largest timestamp below the high watermark; of equal ones the first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn with_max_timestamp(&self) -> Result<Option<FoundOffset>, ReadError> {
        let end = self.settled_high_watermark().await?;
        let Some(batch) = self.store.batch_with_max_timestamp(self.log, end).await? else { return Ok(None) };
        let max = batch.first_chunk().map(|header| StoredHeader::of(header).max_timestamp);
        Ok(self.record_in(&batch, |found| max.is_some_and(|max| found >= max)))
    }

    /// The first record of one stored batch whose timestamp is wanted.
    fn record_in(&self, batch: &Bytes, wanted: impl Fn(i64) -> bool) -> Option<FoundOffset> {
        let batch = RecordBatch::first(batch).ok().flatten()?;
        let mut found = None;
        let read =
            record::for_each_record(&batch, &mut Vec::new(), record::DECOMPRESSED_BYTES_MAX, |record| {
                if found.is_none() && wanted(record.timestamp) {
                    let (offset, timestamp) = (record.offset, record.timestamp);
                    found = Some(FoundOffset { offset, timestamp, leader_epoch: batch.leader_epoch() });
                }
            });
        if let Err(error) = read {
            // Stored as the producer sent it; a batch that cannot be unpacked has no record to find.
            tracing::warn!(partition = %self.id, %error, "a stored batch cannot be unpacked");
        }
        found
    }

    /// Where the epoch ended: the largest epoch up to `epoch`, and the offset after its last record.
    ///
    /// Source: KIP-320.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if epoch == self.state.borrow().leader_epoch {
            return Some((epoch, self.offsets().log_end_offset));
        }
        self.store.epoch_end(self.log, epoch).ok().flatten()
    }
}

impl State {
    fn wait(&mut self, end: Offset, acks: Acks, gate: &Rc<Gate>) {
        match acks {
            Acks::None => {}
            Acks::Leader if self.offsets.written_end < end => self.written.wait(end, gate.clone()),
            Acks::All if self.offsets.high_watermark < end => self.safe.wait(end, gate.clone()),
            Acks::Leader | Acks::All => {}
        }
    }
}

fn producer_batch(header: &StoredHeader) -> Option<ProducerBatch> {
    let (id, epoch, first) = header.producer?;
    Some(ProducerBatch { id, epoch, first, last_offset_delta: header.last_offset_delta })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of a batch with so many bytes after it; what is no place of the header is zero.
    fn batch(base: i64, records: i32, rest: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + rest];
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[8..12].copy_from_slice(&((HEADER_BYTES + rest - 12) as i32).to_be_bytes());
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes
    }

    proptest! {
        /// Pieces end anywhere, also within a header.
        #[test]
        fn an_answer_is_cut_if_its_last_batch_ends_below_the_high_watermark(
            batches in proptest::collection::vec((1..9_i32, 0..40_usize), 0..6),
            pieces in proptest::collection::vec(1..90_usize, 1..8),
            more in any::<bool>(),
        ) {
            let (mut bytes, mut next) = (Vec::new(), 5);
            for (records, rest) in batches {
                bytes.extend(batch(next, records, rest));
                next += i64::from(records);
            }
            let mut rest = Bytes::from(bytes);
            let mut records = Vec::new();
            for length in pieces.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                records.push(Piece::Memory(rest.split_to(length.min(rest.len()))));
            }
            let high_watermark = Offset::new(next + i64::from(more));
            let none = Offset::ZERO;
            let offsets = PartitionOffsets {
                log_start_offset: none,
                last_stable_offset: none,
                high_watermark,
                log_end_offset: high_watermark,
                written_end: none,
                durable_end: none,
            };
            let outcome = ReadOutcome { records, offsets, from: Offset::new(5) };
            prop_assert_eq!(outcome.is_cut(), more);
        }
    }
}
