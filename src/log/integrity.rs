//! Nothing that was read from a segment is used before it has been compared with its checksums.
//!
//! A read takes whole spans ([`sidecar`]); of a span that ends in memory, the rest is taken from there.
//! What does not match is left out: a walk ends before it, and what lies in it is answered with
//! [`LogError::Damaged`], while everything before and behind it is served. Nothing is cut, and nothing is
//! written down: a restart finds the same.

use std::{collections::BTreeSet, ops::Range, rc::Rc};

use crate::{
    io::disk::Open,
    log::{
        LogError, LogId, SegmentKey, Store,
        audit::Audit,
        files::{file_name, is_absent, read_blocks},
        format::sidecar_name,
        index,
        sidecar::{self, SIDECAR_BYTES_MAX, SPAN_BYTES, Span, SpanCheck, Spans, span_of, span_start},
    },
    model::{Offset, TopicPartition},
};

/// Damaged spans that are remembered, so that each is logged once.
const DAMAGED_SPANS_MAX: usize = 4096;

/// What was found of the segments of a shard, since it was opened.
#[derive(Debug, Default)]
pub(super) struct Findings {
    damaged: BTreeSet<(SegmentKey, u64)>,
    /// Spans that matched when they were read.
    pub(super) matched: u64,
    /// Checksum files that were made anew.
    pub(super) rebuilt: u64,
}

/// Counts of a shard since it was opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IntegrityCounts {
    /// Spans that were read and matched their checksum.
    pub spans_matched: u64,
    /// Spans that did not, each counted once.
    pub spans_damaged: u64,
    /// Checksum files that were missing or damaged, and made anew.
    pub sidecars_rebuilt: u64,
}

/// What to compare a stretch of a segment with.
pub(super) struct Expected {
    spans: Vec<(Span, Range<u64>)>,
}

impl Expected {
    /// The spans that have bytes in `range`; `None` if those are not known that far.
    pub(super) fn of(spans: &Spans, range: Range<u64>) -> Option<Self> {
        let indexes = span_of(range.start)..range.end.div_ceil(SPAN_BYTES);
        (range.end <= spans.length())
            .then(|| Self { spans: indexes.filter_map(|index| spans.get(index)).collect() })
    }

    /// Where the last of these spans ends.
    pub(super) fn end(&self) -> u64 {
        self.spans.last().map_or(0, |(_, range)| range.end)
    }

    /// How far `pieces`, which start at `start`, match; and how many spans did.
    fn matching(&self, start: u64, pieces: &[&[u8]]) -> (u64, u64) {
        let mut matched = 0;
        for (span, range) in &self.spans {
            let within = slices(pieces, start, range.clone());
            if !span.matches(within) {
                return (range.start, matched);
            }
            matched += 1;
        }
        (self.end(), matched)
    }
}

/// The parts of pieces that lie back to back from `start` on which lie in `range`.
fn slices<'a>(
    pieces: &[&'a [u8]],
    start: u64,
    range: Range<u64>,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let mut at = start;
    let mut within = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let end = at + piece.len() as u64;
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            within.push(&piece[(from - at) as usize..(to - at) as usize]);
        }
        at = end;
    }
    within.into_iter()
}

impl Store {
    /// What was read and compared since the store was opened.
    #[must_use]
    pub fn integrity_counts(&self) -> IntegrityCounts {
        let findings = self.findings.borrow();
        IntegrityCounts {
            spans_matched: findings.matched,
            spans_damaged: findings.damaged.len() as u64,
            sidecars_rebuilt: findings.rebuilt,
        }
    }

    /// The spans of a sealed segment, from its file or made anew, and the version that they are of; `None` for
    /// one that is not sealed.
    pub(super) async fn sealed_spans(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
    ) -> Result<Option<(Rc<Spans>, u32)>, LogError> {
        let Some(sealed) = self.with_log(id, |log| log.sealed_segment(segment).copied())? else {
            return Ok(None);
        };
        let key = (id, segment, sealed.version);
        let cached = self.sidecars.borrow_mut().get(&key);
        if let Some(spans) = cached {
            return Ok(Some((spans, sealed.version)));
        }
        let path = self.sidecar_path(partition, segment, sealed.version);
        let bytes = self.disk.read_small(&path, SIDECAR_BYTES_MAX).await;
        let found = bytes.as_ref().ok().and_then(|bytes| Spans::decode(segment, bytes));
        let spans = match found.filter(|spans| spans.length() == sealed.length) {
            Some(spans) => spans,
            None => {
                if !is_absent(&bytes) {
                    tracing::error!(file = %path.display(), "checksums are damaged; making them anew");
                }
                let spans = self.rebuild_spans(id, partition, segment, sealed.length, sealed.version).await?;
                if self.with_log(id, |log| log.sealed_segment(segment) == Some(&sealed))?
                    && let Err(error) = self.disk.write_small(&path, spans.encode()).await
                {
                    tracing::warn!(file = %path.display(), %error, "checksums not written");
                }
                spans
            }
        };
        let spans = Rc::new(spans);
        self.sidecars.borrow_mut().insert(key, spans.clone());
        Ok(Some((spans, sealed.version)))
    }

    /// Reads a whole segment, whose batches vouch for themselves.
    async fn rebuild_spans(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        length: u64,
        version: u32,
    ) -> Result<Spans, LogError> {
        let path = self.segment_path(partition, segment, version);
        let failed = |source| LogError::Io { path: path.clone(), source };
        let index = self.index_path(partition, segment, version);
        let index = self.disk.read_small(&index, index::INDEX_FILE_BYTES_MAX).await;
        let entries = index.ok().and_then(|bytes| index::decode(segment, &bytes)).unwrap_or_default();
        let _walking = self.walking(id, segment, version);
        let file = self.segment_file(id, partition, segment, Open::Existing).await.map_err(failed)?;
        let mut audit = Audit::new(segment, length, version > 0, entries);
        while let Some(range) = audit.wants() {
            let buffer = read_blocks(&*file, range.start, range.end).await.map_err(failed)?;
            let from = crate::io::buffer::block_start(range.start);
            let (first, last) = ((range.start - from) as usize, (range.end - from) as usize);
            let end = last.min(buffer.len());
            audit.look(&buffer[first.min(end)..end], |_, _| {});
        }
        let (damaged, spans) = audit.finish();
        for range in &damaged {
            tracing::error!(file = %path.display(), from = range.start, to = range.end,
                "these bytes are not what was appended; offsets in them cannot be read");
        }
        self.findings.borrow_mut().rebuilt += 1;
        Ok(spans)
    }

    /// Writes the checksums of a segment that is about to be sealed, durably.
    pub(super) async fn save_spans(
        &self,
        partition: TopicPartition,
        segment: Offset,
        version: u32,
        spans: &Spans,
    ) -> std::io::Result<()> {
        self.disk.write_small(&self.sidecar_path(partition, segment, version), spans.encode()).await
    }

    pub(super) fn sidecar_path(
        &self,
        partition: TopicPartition,
        segment: Offset,
        version: u32,
    ) -> std::path::PathBuf {
        self.partition_directory(partition).join(sidecar_name(segment, version))
    }

    /// How far these pieces of a segment, from the start of a span on, are what was appended.
    pub(super) fn matching(&self, key: SegmentKey, expected: &Expected, pieces: &[&[u8]]) -> u64 {
        let start = expected.spans.first().map_or(0, |(_, range)| range.start);
        let (end, matched) = expected.matching(start, pieces);
        self.findings.borrow_mut().matched += matched;
        if end < expected.end() {
            self.found_damage(key, end);
        }
        end
    }

    fn found_damage(&self, key: SegmentKey, position: u64) {
        let (id, segment, version) = key;
        // Compaction may have put another segment in its place meanwhile: then this says nothing.
        let partition = self.with_log(id, |log| {
            (log.version_of(segment) == version && log.segment_end(segment).is_some())
                .then_some(log.partition)
        });
        let Ok(Some(partition)) = partition else { return };
        let damaged = &mut self.findings.borrow_mut().damaged;
        if damaged.len() < DAMAGED_SPANS_MAX && damaged.insert((key, span_start(position))) {
            tracing::error!(file = %self.segment_path(partition, segment, version).display(),
                from = span_start(position), to = span_start(position) + SPAN_BYTES,
                "these bytes are not what was appended; offsets in them cannot be read");
        }
    }

    /// What a reader of a whole sealed segment compares it with.
    pub(super) async fn span_check(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
    ) -> Result<Option<SpanCheck>, LogError> {
        Ok(self.sealed_spans(id, partition, segment).await?.map(|(spans, _)| SpanCheck::new(spans)))
    }

    /// Reads one span of a sealed segment and compares it. `None`: there is no such span, or no such segment
    /// any more.
    pub(super) async fn check_span(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        index: u64,
    ) -> Result<Option<Range<u64>>, LogError> {
        let Some((spans, version)) = self.sealed_spans(id, partition, segment).await? else {
            return Ok(None);
        };
        let Some((_, range)) = spans.get(index) else { return Ok(None) };
        let Some(expected) = Expected::of(&spans, range.clone()) else { return Ok(None) };
        let key = (id, segment, version);
        if self.version_of(id, segment) != version {
            return Ok(None);
        }
        let path = self.segment_path(partition, segment, version);
        let _walking = self.walking(id, segment, version);
        let file = self.segment_file(id, partition, segment, Open::Existing).await;
        let read = match file {
            Ok(file) => read_blocks(&*file, range.start, range.end).await,
            Err(error) => Err(error),
        };
        let buffer = match read {
            Ok(buffer) => buffer,
            Err(source) => {
                self.found_damage(key, range.start);
                return Err(LogError::Io { path, source });
            }
        };
        let end = buffer.len().min((range.end - range.start) as usize);
        if self.matching(key, &expected, &[&buffer[..end]]) < range.end {
            let segment = file_name(&path);
            return Err(LogError::Damaged { segment, position: range.start });
        }
        self.verified(key, range.clone());
        Ok(Some(range))
    }

    /// Whether `range` of a sealed segment was compared with its checksums lately, and matched: only then may
    /// its file be sent without a look.
    #[must_use]
    pub fn is_verified(&self, id: LogId, segment: Offset, range: Range<u64>) -> bool {
        let key = (id, segment, self.version_of(id, segment));
        let verified = self.verified.borrow_mut().get(&key);
        verified.is_some_and(|verified| {
            let verified = verified.borrow();
            (span_of(range.start)..range.end.div_ceil(SPAN_BYTES)).all(|index| verified.contains(&index))
        })
    }

    /// The spans in `range` have matched.
    pub(super) fn verified(&self, key: SegmentKey, range: Range<u64>) {
        let mut verified = self.verified.borrow_mut();
        let spans = verified.get(&key).unwrap_or_default();
        spans.borrow_mut().extend(sidecar::span_of(range.start)..range.end.div_ceil(SPAN_BYTES));
        verified.insert(key, spans);
    }
}
