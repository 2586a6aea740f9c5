//! From an offset, or a time, to a run of whole batches.
//!
//! What is in memory is answered from there, as slices of the tail's chunks, without a copy. For the rest
//! the index gives a position, from which blocks are read in one piece and trimmed; where a stretch ends on
//! disk and goes on in memory, the two are put side by side. Which bytes lie where is decided in one
//! turn, before the read: memory only ever lets go of bytes that are in the segment.
//!
//! Compaction may put a rewritten segment in the place of those that a walk is in: positions found before
//! are void then, the walk ends, and what it was for is done anew ([`Store::unreplaced`]).

use std::{cell::RefCell, ops::Range, rc::Rc};

use bytes::Bytes;

use crate::{
    io::{buffer::block_start, disk::Open},
    log::{
        LogError, LogId, OlderIndex, Store, Written,
        files::{file_name, is_absent, read_blocks},
        format::{BATCH_HEADER_BYTES, BatchHead},
        index::{self, Entry, INDEX_FILE_BYTES_MAX, INDEX_INTERVAL_BYTES, Seek},
        integrity::Expected,
        partition_log::Wanted,
        sidecar::span_start,
    },
    model::{Offset, TopicPartition},
};

/// Least that one read asks of the disk, in bytes: a look-up walks about this far.
pub(super) const READ_BYTES_MIN: usize = 128 * 1024;
/// Most that one read asks of the disk, in bytes, unless one batch is larger.
const READ_BYTES_MAX: usize = 1 << 20;

/// What to do with a batch on the way.
pub(super) enum Choice {
    Skip,
    Take,
    /// Take it, and look no further.
    TakeLast,
    Stop,
}

/// Why a walk ended.
enum End {
    Stopped,
    /// The next batch starts here, outside the view.
    Beyond(u64),
    /// The batch here is to be taken, but only its first bytes are in the view. It has this many.
    Cut(u64, usize),
}

/// A stretch of a segment in memory.
struct View {
    start: u64,
    end: u64,
    pieces: Vec<Bytes>,
    /// It ends here because what follows is not what was appended.
    damaged_at: Option<u64>,
}

impl View {
    fn slices(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut at = self.start;
        for piece in &self.pieces {
            let end = at + piece.len() as u64;
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                slices.push(piece.slice((from - at) as usize..(to - at) as usize));
            }
            at = end;
        }
        slices
    }

    fn head_at(&self, position: u64) -> Option<BatchHead> {
        let mut header = [0; BATCH_HEADER_BYTES];
        let mut filled = 0;
        for slice in self.slices(position..position + BATCH_HEADER_BYTES as u64) {
            header[filled..filled + slice.len()].copy_from_slice(&slice);
            filled += slice.len();
        }
        BatchHead::parse(&header)
    }

    /// Goes from batch to batch; `None` in the error's place: there is no batch at that position.
    fn walk(
        &self,
        mut at: u64,
        mut choose: impl FnMut(u64, &BatchHead) -> Choice,
    ) -> Result<(Range<u64>, End), u64> {
        let mut taken = at..at;
        loop {
            if at >= self.end {
                return Ok((taken, End::Beyond(at)));
            }
            if at + BATCH_HEADER_BYTES as u64 > self.end {
                return Ok((taken, End::Cut(at, BATCH_HEADER_BYTES)));
            }
            let head = self.head_at(at).ok_or(at)?;
            let next = at + head.length as u64;
            let choice = choose(at, &head);
            match choice {
                Choice::Stop => return Ok((taken, End::Stopped)),
                Choice::Skip => {}
                _ if next > self.end => return Ok((taken, End::Cut(at, head.length))),
                Choice::Take | Choice::TakeLast => {
                    taken = if taken.is_empty() { at..next } else { taken.start..next };
                }
            }
            if matches!(choice, Choice::TakeLast) {
                return Ok((taken, End::Stopped));
            }
            at = next;
        }
    }
}

impl Store {
    /// Whole batches from the one that holds `from` on, below `end`: at most `max_bytes`, except that with
    /// `at_least_one` the first goes out whatever its size (KIP-74). Ends with its segment at the latest.
    /// Empty if there is nothing below `end`.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`], [`LogError::Quarantined`], or the segment could not be read.
    pub async fn read(
        &self,
        id: LogId,
        from: Offset,
        end: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Vec<Bytes>, LogError> {
        let wanted = Wanted { from, end, max_bytes, at_least_one };
        if let Some(answer) = self.read_in_memory(id, wanted)? {
            return Ok(answer);
        }
        self.unreplaced(id, async || self.read_segments(id, wanted).await).await
    }

    async fn read_segments(&self, id: LogId, wanted: Wanted) -> Result<Vec<Bytes>, LogError> {
        let Wanted { from, max_bytes, .. } = wanted;
        let wanted = self.with_log(id, |log| log.narrow(wanted))??;
        let (partition, hint, segment, replacements) =
            self.with_log(id, |log| (log.partition, log.hint(from), log.segment_of(from), log.replacements))?;
        let mut place = match hint.filter(|hint| hint.0 == segment) {
            Some((segment, position)) => Place { segment, position, entry: None, replacements },
            None => self.place(id, partition, segment, Seek::Offset(from)).await?,
        };
        let bytes = max_bytes.clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        let (mut first, mut chosen) = (None, (from, 0));
        let found = self
            .search(id, partition, &mut place, bytes, wanted.end, |at, head| {
                if head.next <= wanted.from {
                    return Choice::Skip;
                }
                // The first batch is met again if it reached out of the first view: it was not taken then.
                let taken = at - *first.get_or_insert(at);
                if !wanted.takes(head, taken as usize) {
                    return Choice::Stop;
                }
                chosen = (head.next, at + head.length as u64);
                Choice::Take
            })
            .await?;
        let Some((slices, stopped_at)) = found else { return Ok(Vec::new()) };
        // A batch that was chosen but reached out of the view is not part of the answer.
        let (next, chosen_end) = chosen;
        if stopped_at == chosen_end {
            self.with_log(id, |log| {
                if log.replacements == place.replacements {
                    log.remember(next, place.segment, stopped_at);
                }
            })?;
        }
        Ok(slices)
    }

    /// Does something that walks segments, and does it again if one of them was replaced meanwhile.
    pub(super) async fn unreplaced<T>(
        &self,
        id: LogId,
        attempt: impl AsyncFn() -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        loop {
            let before = self.with_log(id, |log| log.replacements)?;
            let result = attempt().await;
            if self.with_log(id, |log| log.replacements)? == before {
                return result;
            }
        }
    }

    /// The walk's positions are still those of the segments.
    fn check_place(&self, id: LogId, place: &Place) -> Result<(), LogError> {
        let current = self.with_log(id, |log| log.replacements)?;
        // Whoever walks has the attempt made again, and never sees this.
        if current == place.replacements { Ok(()) } else { Err(LogError::UnknownLog) }
    }

    /// As [`Store::read`]; `None` if the disk must be asked.
    pub(super) fn read_in_memory(&self, id: LogId, wanted: Wanted) -> Result<Option<Vec<Bytes>>, LogError> {
        self.with_log(id, |log| {
            let wanted = log.narrow(wanted)?;
            if wanted.from >= wanted.end {
                return Ok(Some(Vec::new()));
            }
            Ok(log.read_tail(&wanted))
        })?
    }

    /// Where the batch that holds `from` starts in `segment`; `None` if it is not in that segment.
    pub(super) async fn batch_position(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        from: Offset,
        end: Offset,
    ) -> Result<Option<u64>, LogError> {
        let mut place = self.place(id, partition, segment, Seek::Offset(from)).await?;
        let found = self
            .search(id, partition, &mut place, READ_BYTES_MIN, end, |_, head| {
                if head.next > from { Choice::TakeLast } else { Choice::Skip }
            })
            .await?;
        let found = found.filter(|_| place.segment == segment);
        Ok(found.map(|(slices, end)| end - slices.iter().map(Bytes::len).sum::<usize>() as u64))
    }

    /// Walks from a place on, over as many views and segments as it takes, until something was taken or
    /// the walk was stopped. Says what was taken and where it ended.
    pub(super) async fn search(
        &self,
        id: LogId,
        partition: TopicPartition,
        place: &mut Place,
        bytes: usize,
        end: Offset,
        mut choose: impl FnMut(u64, &BatchHead) -> Choice,
    ) -> Result<Option<(Vec<Bytes>, u64)>, LogError> {
        let mut bytes = bytes;
        loop {
            self.check_place(id, place)?;
            let segment = place.segment;
            let segment_end = self.with_log(id, |log| log.segment_end(segment))?;
            let segment_end = segment_end.ok_or(LogError::UnknownLog)?;
            if place.position >= segment_end {
                let after = |log: &mut crate::log::partition_log::Log| {
                    log.segments().map(|s| s.base).find(|&base| base > segment && base < end)
                };
                let Some(next) = self.with_log(id, after)? else { return Ok(None) };
                *place = Place { segment: next, position: 0, entry: Some(Entry::first(next)), ..*place };
                continue;
            }
            let view = self.view(id, partition, segment, place.position, bytes).await?;
            self.check_place(id, place)?;
            let mut learned = Learned::new(place.entry);
            let walked = view.walk(place.position, |at, head| {
                let choice = choose(at, head);
                if matches!(choice, Choice::Skip) {
                    learned.pass(at, head);
                }
                choice
            });
            let damaged = |position| LogError::Damaged {
                segment: file_name(&self.segment_path(partition, segment, self.version_of(id, segment))),
                position,
            };
            let (taken, ended) = walked.map_err(damaged)?;
            place.entry = self.learn(id, segment, learned);
            if !taken.is_empty() {
                return Ok(Some((view.slices(taken.clone()), taken.end)));
            }
            match ended {
                End::Stopped => return Ok(None),
                End::Beyond(at) => place.position = at,
                End::Cut(at, _) if view.end == segment_end => return Err(damaged(at)),
                End::Cut(at, length) => {
                    if view.damaged_at.is_some() {
                        return Err(damaged(at));
                    }
                    place.position = at;
                    bytes = bytes.max(length);
                }
            }
        }
    }

    /// `bytes` of a segment from `start` on, or what there is, from disk and memory.
    async fn view(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        start: u64,
        bytes: usize,
    ) -> Result<View, LogError> {
        let sealed = self.sealed_spans(id, partition, segment).await?;
        let decided = self.with_log(id, |log| {
            let is_same = match &sealed {
                Some((_, version)) => log.sealed_segment(segment).is_some_and(|now| now.version == *version),
                None => log.live_segment(segment).is_some(),
            };
            if !is_same {
                return None;
            }
            let sealed = sealed.as_ref().map(|(spans, _)| &**spans);
            let segment_end = log.segment_end(segment).unwrap_or(0);
            let end = (start + bytes as u64).min(segment_end);
            let disk_end = log.tail.start_of(segment).unwrap_or(segment_end).min(end);
            let live = log.live_segment(segment).and_then(|live| live.spans.as_ref());
            let expected = sealed.or(live).and_then(|spans| Expected::of(spans, start..disk_end));
            let in_memory = log.tail.slices(segment, start.max(disk_end)..end);
            // The rest of the last span, if that is only in memory.
            let checked_end = expected.as_ref().map_or(disk_end, Expected::end);
            let memory_start = log.tail.start_of(segment).unwrap_or(segment_end).min(checked_end);
            let checked_only = memory_start..checked_end;
            Some((end, disk_end, in_memory, expected, log.tail.slices(segment, checked_only)))
        })?;
        // Sealed meanwhile: another look. Replaced: the walk is void, which its caller sees.
        let Some((end, disk_end, in_memory, expected, checked_only)) = decided else {
            return Ok(View { start, end: start, pieces: Vec::new(), damaged_at: None });
        };
        if start >= disk_end {
            return Ok(View { start, end, pieces: in_memory, damaged_at: None });
        }
        let version = self.version_of(id, segment);
        let _walking = self.walking(id, segment, version);
        let path = || self.segment_path(partition, segment, version);
        let failed = |source| LogError::Io { path: path(), source };
        let file = self.segment_file(id, partition, segment, Open::Existing).await.map_err(failed)?;
        let memory_bytes: u64 = checked_only.iter().map(|slice| slice.len() as u64).sum();
        let (read_start, read_end) = match &expected {
            Some(expected) => (span_start(start), expected.end() - memory_bytes),
            None => (start, disk_end),
        };
        let buffer = read_blocks(&*file, read_start, read_end).await.map_err(failed)?;
        let from = block_start(read_start);
        let here = (read_end.saturating_sub(from) as usize).min(buffer.len());
        let buffer = buffer.freeze();
        let mut sound_end = from + here as u64;
        if let Some(expected) = &expected {
            let mut pieces = vec![&buffer[..here]];
            pieces.extend(checked_only.iter().map(|slice| &slice[..]));
            sound_end = self.matching((id, segment, version), expected, &pieces).min(sound_end);
        }
        if sound_end <= start {
            return Err(LogError::Damaged { segment: file_name(&path()), position: start });
        }
        if sealed.is_some() {
            self.verified((id, segment, version), span_start(start)..sound_end);
        }
        let last = sound_end.min(disk_end);
        let mut pieces = Vec::with_capacity(1 + in_memory.len());
        pieces.push(buffer.slice((start - from) as usize..(last - from) as usize).into_bytes());
        if last < disk_end {
            return Ok(View { start, end: last, pieces, damaged_at: Some(last) });
        }
        pieces.extend(in_memory);
        Ok(View { start, end, pieces, damaged_at: None })
    }

    /// Where in a segment a walk towards `seek` starts.
    pub(super) async fn place(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        seek: Seek,
    ) -> Result<Place, LogError> {
        let (live, replacements) = self.with_log(id, |log| {
            let live = log.live_segment(segment).and_then(|live| index::nearest(&live.index, seek));
            (live, log.replacements)
        })?;
        let entry = match live {
            Some(entry) => entry,
            None => {
                let entries = self.older_index(id, partition, segment).await?;
                let nearest = index::nearest(&entries.borrow(), seek);
                nearest.unwrap_or(Entry::first(segment))
            }
        };
        if let Seek::Offset(offset) = seek {
            // The span in which the offset lies: a damaged one before it is not walked through.
            let sealed = self.sealed_spans(id, partition, segment).await?;
            let start = self.with_log(id, |log| {
                let live = log.live_segment(segment).and_then(|live| live.spans.as_ref());
                let sealed = sealed.as_ref().map(|(spans, _)| &**spans);
                sealed.or(live).and_then(|spans| spans.batch_before(offset))
            })?;
            if let Some((_, position)) = start.filter(|&(_, position)| position > entry.position) {
                return Ok(Place { segment, position, entry: None, replacements });
            }
        }
        Ok(Place { segment, position: entry.position, entry: Some(entry), replacements })
    }

    /// The index of a segment as its file has it, and what walks have learned; from the first batch on.
    pub(super) async fn older_index(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
    ) -> Result<OlderIndex, LogError> {
        let version = self.version_of(id, segment);
        let cached = self.indexes.borrow_mut().get(&(id, segment, version));
        if let Some(entries) = cached {
            return Ok(entries);
        }
        // A sealed segment's file was written with its last batch; an active one's may know batches that
        // a power loss took.
        let valid_to = self.with_log(id, |log| match log.live_segment(segment) {
            Some(live) => live.index_valid_to,
            None => log.segment_end(segment).unwrap_or(0),
        })?;
        let path = self.index_path(partition, segment, version);
        let bytes = self.disk.read_small(&path, INDEX_FILE_BYTES_MAX).await;
        if !is_absent(&bytes) && bytes.is_err() {
            tracing::warn!(%partition, segment = %segment, "index cannot be read; walking the segment instead");
        }
        let mut entries = bytes.ok().and_then(|bytes| index::decode(segment, &bytes)).unwrap_or_default();
        entries.retain(|entry| entry.position < valid_to);
        index::merge(&mut entries, &[Entry::first(segment)]);
        let entries = Rc::new(RefCell::new(entries));
        self.indexes.borrow_mut().insert((id, segment, version), entries.clone());
        Ok(entries)
    }

    /// Writes a live segment's index file and drops its entries from memory. A failure costs walks only.
    pub(super) async fn save_index(&self, id: LogId, segment: Offset) {
        let Ok(partition) = self.with_log(id, |log| log.partition) else { return };
        let Ok(entries) = self.older_index(id, partition, segment).await else { return };
        let live = self.with_log(id, |log| {
            log.live_segment(segment).map(|live| (std::mem::take(&mut live.index), live.end))
        });
        let Ok(Some((live, end))) = live else { return };
        index::merge(&mut entries.borrow_mut(), &live);
        let path = self.index_path(partition, segment, 0);
        let bytes = index::encode(segment, &entries.borrow());
        self.count(Written::Checkpoints, bytes.len() as u64);
        let saved = self.disk.write_small(&path, bytes).await;
        if let Err(error) = &saved {
            tracing::warn!(file = %path.display(), %error, "index not written; look-ups will walk the segment");
            // What is there may be older than the segment's end.
            let _ = self.disk.remove_file(&path).await;
        }
        let valid_to = if saved.is_ok() { end } else { 0 };
        let _ = self.with_log(id, |log| {
            if let Some(live) = log.live_segment(segment) {
                live.index_valid_to = valid_to;
                log.dirty = true;
            }
        });
    }

    /// Adds what a walk has learned to the index in memory; says the last entry it knows.
    fn learn(&self, id: LogId, segment: Offset, learned: Learned) -> Option<Entry> {
        if !learned.entries.is_empty()
            && let Some(entries) = self.indexes.borrow_mut().get(&(id, segment, self.version_of(id, segment)))
        {
            index::merge(&mut entries.borrow_mut(), &learned.entries);
        }
        learned.next
    }
}

/// Where a walk is.
pub(super) struct Place {
    segment: Offset,
    position: u64,
    /// The same place as an index entry; unknown for one that was remembered as a position only.
    entry: Option<Entry>,
    /// Of the log when the place was found.
    replacements: u64,
}

impl Place {
    /// The largest timestamp before it in its segment, if that is known.
    pub(super) fn max_before(&self) -> Option<i64> {
        self.entry.map(|entry| entry.max_before)
    }
}

/// Index entries for the batches that a walk passes.
struct Learned {
    /// The batch that follows, as an entry.
    next: Option<Entry>,
    indexed_to: u64,
    entries: Vec<Entry>,
}

impl Learned {
    fn new(start: Option<Entry>) -> Self {
        Self { next: start, indexed_to: start.map_or(0, |entry| entry.position), entries: Vec::new() }
    }

    fn pass(&mut self, at: u64, head: &BatchHead) {
        let Some(entry) = self.next else { return };
        if at - self.indexed_to >= INDEX_INTERVAL_BYTES {
            self.entries.push(Entry { offset: head.base, position: at, ..entry });
            self.indexed_to = at;
        }
        let max_before = entry.max_before.max(head.max_timestamp);
        self.next = Some(Entry { offset: head.next, position: at + head.length as u64, max_before });
    }
}

pub(super) fn joined(mut slices: Vec<Bytes>) -> Bytes {
    if slices.len() == 1
        && let Some(only) = slices.pop()
    {
        return only;
    }
    slices.concat().into()
}
