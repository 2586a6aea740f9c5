//! Checksums of a segment, over spans of [`SPAN_BYTES`] that know nothing of batches.
//!
//! Kafka's batch CRC covers neither base offset nor length nor leader epoch, and nothing covers where one
//! batch ends and the next begins. So every append also goes into the CRC-32C of the span it lies in; the
//! spans of an active segment travel in its log's checkpoint entry, those of a sealed one in a file beside
//! it, durable before anything calls the segment sealed. Whatever is read from a disk is compared with its
//! span before anyone sees it (`integrity.rs`).
//!
//! File `<base offset, 20 digits>.crc`, little-endian; written once:
//!
//! | bytes           | field        | meaning                                                        |
//! |-----------------|--------------|----------------------------------------------------------------|
//! | 0..4            | magic        | `CLSC`                                                         |
//! | 4..8            | version      | 1                                                              |
//! | 8..16           | base offset  | of the segment                                                 |
//! | 16..24          | length       | of the segment, in bytes                                       |
//! | 24..28          | count        | spans                                                          |
//! | 28..            | spans, 16 each | CRC-32C (4), first batch that starts in it: offset, from the base offset (4), and first byte, from the span's (4), both `0xFFFF_FFFF` for none; flags (4): 1, it is known to be damaged |
//! | last 4          | CRC-32C      | of all before it                                               |
//!
//! A missing or damaged file is made anew from the segment, whose batches must then vouch for themselves:
//! a span with a batch that does not match its own CRC is flagged. Where the first batch of a span starts
//! lets a reader go on behind a damaged one.

use std::ops::Range;

use crate::{
    log::{
        Parts,
        format::{BATCH_HEADER_BYTES, BatchHead},
    },
    model::Offset,
};

/// Bytes of one span: the least that is read to serve one byte.
pub const SPAN_BYTES: u64 = 256 * 1024;
/// Largest file that is read, in bytes: a segment of 4 GiB.
pub(super) const SIDECAR_BYTES_MAX: usize = 1 << 20;

const MAGIC: &[u8; 4] = b"CLSC";
const VERSION: u32 = 1;
const SPAN_ENTRY_BYTES: usize = 16;
const NONE: u32 = u32::MAX;
const DAMAGED: u32 = 1;

/// One span of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// CRC-32C of its bytes, as far as the segment goes.
    pub(super) crc: u32,
    first_offset: u32,
    first_at: u32,
    flags: u32,
}

impl Span {
    const EMPTY: Self = Self { crc: 0, first_offset: NONE, first_at: NONE, flags: 0 };

    /// Whether these bytes, back to back, are the span's.
    pub(super) fn matches<'a>(&self, bytes: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let crc = bytes.into_iter().fold(0, crc32c::crc32c_append);
        crc == self.crc && !self.is_damaged()
    }

    /// A rebuilt file says that what lies here is not what was appended.
    pub(super) fn is_damaged(&self) -> bool {
        self.flags & DAMAGED != 0
    }
}

/// The spans of one segment; the last one may be short, and grows with its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spans {
    base: Offset,
    length: u64,
    spans: Vec<Span>,
}

/// The span in which a byte of a segment lies.
pub(super) const fn span_of(position: u64) -> u64 {
    position / SPAN_BYTES
}

/// First byte of the span in which `position` lies.
pub(super) const fn span_start(position: u64) -> u64 {
    position - position % SPAN_BYTES
}

impl Spans {
    /// Those of an empty segment.
    pub(super) fn new(base: Offset) -> Self {
        Self { base, length: 0, spans: Vec::new() }
    }

    /// Bytes of the segment that they cover.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn count(&self) -> u64 {
        self.spans.len() as u64
    }

    /// The span at an index, and the bytes of the segment that it covers.
    pub(super) fn get(&self, index: u64) -> Option<(Span, Range<u64>)> {
        let span = *self.spans.get(usize::try_from(index).ok()?)?;
        let start = index * SPAN_BYTES;
        Some((span, start..(start + SPAN_BYTES).min(self.length)))
    }

    /// A batch follows those before it.
    pub(super) fn append(&mut self, base: Offset, batch: Parts<'_>) {
        self.starts_batch(base);
        batch.into_iter().for_each(|part| self.extend(part));
    }

    fn starts_batch(&mut self, base: Offset) {
        let at = self.length % SPAN_BYTES;
        if at == 0 {
            self.spans.push(Span::EMPTY);
        }
        if let Some(span) = self.spans.last_mut().filter(|span| span.first_offset == NONE) {
            // A segment rolls before its offsets no longer fit.
            span.first_offset = (base.get() - self.base.get()) as u32;
            span.first_at = at as u32;
        }
    }

    /// Bytes follow those before them.
    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.length % SPAN_BYTES;
            if at == 0 && self.spans.len() as u64 * SPAN_BYTES == self.length {
                self.spans.push(Span::EMPTY);
            }
            let (now, later) = bytes.split_at(bytes.len().min((SPAN_BYTES - at) as usize));
            if let Some(span) = self.spans.last_mut() {
                span.crc = crc32c::crc32c_append(span.crc, now);
            }
            self.length += now.len() as u64;
            bytes = later;
        }
    }

    /// Batches that lie back to back follow.
    pub(super) fn append_all(&mut self, mut bytes: &[u8]) {
        while let Some(head) = bytes.first_chunk::<BATCH_HEADER_BYTES>().and_then(BatchHead::parse) {
            let (batch, rest) = bytes.split_at(bytes.len().min(head.length));
            self.append(head.base, [batch, &[]]);
            bytes = rest;
        }
        self.extend(bytes);
    }

    /// Says that a stretch of the segment is not what was appended.
    pub(super) fn flag(&mut self, damaged: Range<u64>) {
        for index in span_of(damaged.start)..damaged.end.div_ceil(SPAN_BYTES) {
            if let Some(span) = self.spans.get_mut(index as usize) {
                span.flags |= DAMAGED;
            }
        }
    }

    /// The last batch that is known to start at or before `offset`: its offset and position.
    pub(super) fn batch_before(&self, offset: Offset) -> Option<(Offset, u64)> {
        let starts = self.spans.iter().enumerate().rev().filter(|(_, span)| span.first_offset != NONE);
        starts.map(|(index, span)| self.start_of(*span, index as u64)).find(|&(base, _)| base <= offset)
    }

    fn start_of(&self, span: Span, index: u64) -> (Offset, u64) {
        let offset = Offset::new(self.base.get() + i64::from(span.first_offset));
        (offset, index * SPAN_BYTES + u64::from(span.first_at))
    }

    /// The file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + self.spans.len() * SPAN_ENTRY_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.base.get().to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&(self.spans.len() as u32).to_le_bytes());
        for Span { crc, first_offset, first_at, flags } in &self.spans {
            [crc, first_offset, first_at, flags]
                .into_iter()
                .for_each(|field| bytes.extend_from_slice(&field.to_le_bytes()));
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What a file says of the segment with that base offset; `None` if it is not to be trusted.
    pub(super) fn decode(base: Offset, bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (version, rest) = covered[MAGIC.len()..].split_first_chunk::<4>()?;
        let (found_base, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let length = u64::from_le_bytes(*length);
        let (entries, surplus) = rest.as_chunks::<SPAN_ENTRY_BYTES>();
        let is_sound = u32::from_le_bytes(*version) == VERSION
            && i64::from_le_bytes(*found_base) == base.get()
            && entries.len() as u64 == length.div_ceil(SPAN_BYTES)
            && entries.len() == u32::from_le_bytes(*count) as usize
            && surplus.is_empty();
        let span = |entry: &[u8; SPAN_ENTRY_BYTES]| {
            let number = u128::from_le_bytes(*entry);
            let field = |at: u32| (number >> (32 * at)) as u32;
            Span { crc: field(0), first_offset: field(1), first_at: field(2), flags: field(3) }
        };
        is_sound.then(|| Self { base, length, spans: entries.iter().map(span).collect() })
    }
}

/// Compares a segment with its spans while it is read from front to back.
#[derive(Debug)]
pub(super) struct SpanCheck {
    expected: std::rc::Rc<Spans>,
    found: Spans,
}

impl SpanCheck {
    pub(super) fn new(expected: std::rc::Rc<Spans>) -> Self {
        let found = Spans::new(expected.base);
        Self { expected, found }
    }

    /// These bytes come next. False: among them ends a span that is damaged.
    pub(super) fn passes(&mut self, bytes: &[u8]) -> bool {
        let first = self.found.length;
        self.found.extend(bytes);
        (span_of(first)..self.found.count()).all(|index| {
            let (Some((found, range)), Some((expected, whole))) =
                (self.found.get(index), self.expected.get(index))
            else {
                return false;
            };
            range.end < whole.end || (found.crc == expected.crc && !expected.is_damaged())
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(batches: &[Vec<u8>]) -> Spans {
        let mut spans = Spans::new(Offset::new(1000));
        for (batch, at) in batches.iter().zip(0..) {
            let (head, tail) = batch.split_at(batch.len() / 3);
            spans.append(Offset::new(1000 + 10 * at), [head, tail]);
        }
        spans
    }

    proptest! {
        #[test]
        fn every_span_matches_its_own_bytes_and_no_changed_one(
            lengths in prop::collection::vec(61_usize..400_000, 1..12),
            at in 0_usize..usize::MAX,
        ) {
            let batches: Vec<Vec<u8>> =
                lengths.iter().zip(1_u8..).map(|(&length, byte)| vec![byte; length]).collect();
            let spans = spans(&batches);
            let mut all = batches.concat();
            prop_assert_eq!(spans.length(), all.len() as u64);
            prop_assert_eq!(spans.count(), spans.length().div_ceil(SPAN_BYTES));
            let at = at % all.len();
            all[at] ^= 1;
            for index in 0..spans.count() {
                let (span, range) = spans.get(index).expect("counted");
                let bytes = &all[range.start as usize..range.end as usize];
                prop_assert_eq!(span.matches([bytes]), !range.contains(&(at as u64)));
            }
            prop_assert_eq!(Spans::decode(Offset::new(1000), &spans.encode()), Some(spans));
        }

        #[test]
        fn a_reader_finds_the_first_batch_of_every_span(
            lengths in prop::collection::vec(61_usize..300_000, 1..12),
        ) {
            let batches: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![0; length]).collect();
            let spans = spans(&batches);
            let mut at = 0;
            let mut firsts = std::collections::BTreeMap::new();
            for (length, index) in lengths.iter().zip(0..) {
                firsts.entry(span_of(at)).or_insert((Offset::new(1000 + 10 * index), at));
                at += *length as u64;
            }
            for (first, position) in firsts.into_values() {
                prop_assert_eq!(spans.batch_before(first), Some((first, position)));
            }
        }
    }

    #[test]
    fn a_file_with_a_changed_byte_counts_as_absent() {
        let bytes = spans(&[vec![1; 300_000], vec![2; 70]]).encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 8;
            assert_eq!(Spans::decode(Offset::new(1000), &changed), None, "byte {at}");
        }
        assert_eq!(Spans::decode(Offset::new(1001), &bytes), None);
    }

    #[test]
    fn a_flagged_span_matches_nothing() {
        let mut spans = spans(&[vec![1; 600_000]]);
        spans.flag(300_000..300_001);
        let matches = |index| {
            let (span, range) = spans.get(index).expect("counted");
            span.matches([&vec![1; (range.end - range.start) as usize][..]])
        };
        assert_eq!([matches(0), matches(1), matches(2)], [true, false, true]);
    }
}
