//! The newest bytes of a log in memory: append-only chunks, shared as slices with readers and writes.
//!
//! Chunks stand in offset order. Within a segment they are contiguous, each starts on a block and holds
//! whole blocks, except the last one while it fills. So every block of a segment lies in one chunk and
//! is written from there without a copy. Chunks leave from the front, and only once their blocks are
//! in the segment (`settle.rs`): what is not in memory is on disk.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use crate::{
    io::buffer::{AlignedSlice, BLOCK, Chunk, block_start, round_up},
    log::{
        Parts,
        format::{BATCH_HEADER_BYTES, BatchHead},
    },
    model::Offset,
};

/// First chunk of a log, in bytes.
const CHUNK_BYTES_MIN: usize = BLOCK;
/// Largest chunk, in bytes.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// A chunk that filled within this time is followed by one twice as large.
const DOUBLE_WITHIN_MS: i64 = 1_000;
/// A chunk that took longer than this is followed by one half as large.
const HALVE_AFTER_MS: i64 = 30_000;

struct TailChunk {
    segment: Offset,
    /// Position of the chunk's first byte in its segment.
    start: u64,
    chunk: Chunk,
    /// Bytes it may hold: less than its capacity once `shrink` has cut it.
    limit: usize,
    /// The first batch that starts in it, and where.
    first_batch: Option<(Offset, u64)>,
    created_ms: i64,
}

impl TailChunk {
    fn length(&self) -> usize {
        self.chunk.len().min(self.limit)
    }

    fn end(&self) -> u64 {
        self.start + self.length() as u64
    }
}

#[derive(Default)]
pub(super) struct Tail {
    chunks: VecDeque<TailChunk>,
    capacity: usize,
}

impl Tail {
    /// Copies a batch to `position` of its segment: right behind the bytes before it, or to a block start
    /// if there are none in memory.
    pub(super) fn append(
        &mut self,
        segment: Offset,
        position: u64,
        base: Offset,
        batch: Parts<'_>,
        now_ms: i64,
    ) {
        let mut at = position;
        let mut left = batch[0].len() + batch[1].len();
        for mut part in batch {
            while !part.is_empty() {
                let chunk = self.open_chunk(segment, at, left, now_ms);
                assert_eq!(chunk.end(), at, "a hole in the tail of segment {segment}");
                if at == position && chunk.first_batch.is_none() {
                    chunk.first_batch = Some((base, at));
                }
                let taken = chunk.chunk.append(part);
                part = &part[taken..];
                at += taken as u64;
                left -= taken;
            }
        }
    }

    /// The partial block of a log that was read back: it starts where settling has come to.
    pub(super) fn resume(&mut self, segment: Offset, settled: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut chunk = Chunk::with_capacity(CHUNK_BYTES_MIN);
            let taken = chunk.append(bytes);
            assert_eq!(taken, bytes.len(), "a partial block is less than a block");
            let limit = chunk.capacity();
            let (start, created_ms) = (settled, 0);
            // Further on, where the first batch starts is not known: the index finds it.
            let first_batch = (settled == 0).then_some((segment, 0));
            self.chunks.push_back(TailChunk { segment, start, chunk, limit, first_batch, created_ms });
        }
    }

    /// As [`Tail::resume`]; what was in memory before is in its segments, and forgotten.
    pub(super) fn restart(&mut self, segment: Offset, settled: u64, bytes: &[u8]) {
        self.chunks.clear();
        self.resume(segment, settled, bytes);
    }

    fn open_chunk(&mut self, segment: Offset, at: u64, bytes: usize, now_ms: i64) -> &mut TailChunk {
        let open = self.chunks.back().is_some_and(|c| c.segment == segment && c.length() < c.limit);
        if !open {
            assert_eq!(at, block_start(at), "a chunk starts on a block");
            let age_ms = self.chunks.back().map(|last| now_ms - last.created_ms);
            self.capacity = match age_ms {
                Some(..DOUBLE_WITHIN_MS) => self.capacity * 2,
                Some(HALVE_AFTER_MS..) => self.capacity / 2,
                _ => self.capacity,
            }
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
            let capacity = self.capacity.max(round_up(bytes).min(CHUNK_BYTES_MAX));
            let chunk = Chunk::with_capacity(capacity);
            let limit = chunk.capacity();
            let (start, first_batch) = (at, None);
            self.chunks.push_back(TailChunk {
                segment,
                start,
                chunk,
                limit,
                first_batch,
                created_ms: now_ms,
            });
        }
        self.chunks.back_mut().expect("pushed above if there was none")
    }

    /// Fills the last block of the segment with zeros: nothing more is appended to it.
    pub(super) fn pad_last_block(&mut self, segment: Offset) {
        if let Some(last) = self.chunks.back_mut().filter(|chunk| chunk.segment == segment) {
            let padding = round_up(last.chunk.len()) - last.chunk.len();
            last.chunk.append(&[0; BLOCK][..padding]);
            last.limit = last.chunk.len();
        }
    }

    /// The first position of a segment that is in memory.
    pub(super) fn start_of(&self, segment: Offset) -> Option<u64> {
        let first = self.chunks.partition_point(|chunk| chunk.segment < segment);
        self.chunks.get(first).filter(|chunk| chunk.segment == segment).map(|chunk| chunk.start)
    }

    /// A batch in memory that starts at or before `offset`: its segment and position.
    pub(super) fn batch_before(&self, offset: Offset) -> Option<(Offset, u64)> {
        self.chunks.iter().rev().find_map(|chunk| {
            chunk.first_batch.filter(|&(base, _)| base <= offset).map(|b| (chunk.segment, b.1))
        })
    }

    fn chunk_at(&self, segment: Offset, position: u64) -> Option<usize> {
        let after = self.chunks.partition_point(|c| (c.segment, c.start) <= (segment, position));
        let at = after.checked_sub(1)?;
        let chunk = &self.chunks[at];
        (chunk.segment == segment && position < chunk.end()).then_some(at)
    }

    /// From `range.start` to the end of its chunk, or of the range.
    pub(super) fn piece(&self, segment: Offset, range: Range<u64>) -> Option<AlignedSlice> {
        let chunk = &self.chunks[self.chunk_at(segment, range.start)?];
        let end = range.end.min(chunk.end());
        Some(chunk.chunk.slice((range.start - chunk.start) as usize..(end - chunk.start) as usize))
    }

    /// All of `range`, as shared memory; empty if its start is not in memory.
    pub(super) fn slices(&self, segment: Offset, range: Range<u64>) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut at = range.start;
        while at < range.end
            && let Some(piece) = self.piece(segment, at..range.end)
        {
            at += piece.len() as u64;
            slices.push(piece.into_bytes());
        }
        slices
    }

    /// The header of the batch at a position in memory.
    pub(super) fn head_at(&self, segment: Offset, position: u64) -> Option<BatchHead> {
        let mut header = [0; BATCH_HEADER_BYTES];
        let mut filled = 0;
        while filled < header.len() {
            let at = position + filled as u64;
            let piece = self.piece(segment, at..position + header.len() as u64)?;
            header[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        BatchHead::parse(&header)
    }

    /// Full chunks that a settled position has passed: those that end within `range` of the segment.
    pub(super) fn settled_within(&self, segment: Offset, range: Range<u64>) -> impl Iterator<Item = usize> {
        let first = self.chunks.partition_point(|c| (c.segment, c.end()) <= (segment, range.start));
        let ended = move |c: &&TailChunk| c.segment == segment && c.end() <= range.end;
        let full = |c: &&TailChunk| c.length() == c.limit;
        self.chunks.range(first..).take_while(ended).filter(full).map(|chunk| chunk.chunk.capacity())
    }

    /// Forgets the chunks of segments up to `last`, all of them settled; says how many those were.
    pub(super) fn drop_through(&mut self, last: Offset) -> usize {
        let gone = self.chunks.partition_point(|chunk| chunk.segment <= last);
        self.chunks.drain(..gone);
        gone
    }

    /// Forgets the chunk at the front.
    pub(super) fn drop_front(&mut self) {
        self.chunks.pop_front();
    }

    /// Memory of all chunks, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.chunk.capacity()).sum()
    }

    /// Whether [`Tail::shrink`] would give memory back once everything whole is settled.
    pub(super) fn can_shrink(&self) -> bool {
        self.chunks.back().is_some_and(|c| c.chunk.capacity() > CHUNK_BYTES_MIN && c.length() < c.limit)
    }

    /// For a log that rests: the partial last block moves to a chunk of its own.
    ///
    /// Returns the bytes of the chunk that became a full, settled one by that, if any. `settled` is the
    /// active segment's: whole blocks not yet written stay where they are.
    pub(super) fn shrink(&mut self, settled: u64) -> Option<usize> {
        self.capacity = CHUNK_BYTES_MIN;
        let last = self.chunks.back_mut()?;
        let cut = block_start(last.end());
        if last.chunk.capacity() == CHUNK_BYTES_MIN || last.length() == last.limit || settled < cut {
            return None;
        }
        let (segment, start, end, created_ms) = (last.segment, last.start, last.end(), last.created_ms);
        let first = last.first_batch;
        let mut chunk = Chunk::with_capacity(CHUNK_BYTES_MIN);
        chunk.append(&last.chunk.slice((cut - start) as usize..(end - start) as usize));
        let freed = last.chunk.capacity();
        last.limit = (cut - start) as usize;
        // The first batch that starts behind the cut, found before the cut takes its header away.
        let mut at = first;
        while let Some((_, position)) = at.filter(|&(_, position)| position < cut) {
            let unlimited = |t: &Self| t.head_beyond(segment, position, &chunk, cut);
            at = unlimited(self).map(|head| (head.next, position + head.length as u64));
        }
        let first_batch = at.filter(|&(_, position)| position < end);
        if cut == start {
            self.chunks.pop_back();
        }
        let limit = chunk.capacity();
        let moved = TailChunk { segment, start: cut, chunk, limit, first_batch, created_ms };
        self.chunks.push_back(moved);
        (cut > start).then_some(freed)
    }

    /// As `head_at`, for a header that may reach into `next`, which starts at `cut`.
    fn head_beyond(&self, segment: Offset, position: u64, next: &Chunk, cut: u64) -> Option<BatchHead> {
        let mut header = [0; BATCH_HEADER_BYTES];
        let end = position + header.len() as u64;
        let mut filled = 0;
        for slice in self.slices(segment, position..end.min(cut)) {
            header[filled..filled + slice.len()].copy_from_slice(&slice);
            filled += slice.len();
        }
        if end > cut {
            let rest = next.slice(0..next.len().min((end - cut) as usize));
            header[filled..filled + rest.len()].copy_from_slice(&rest);
            filled += rest.len();
        }
        (filled == header.len()).then(|| BatchHead::parse(&header))?
    }
}
