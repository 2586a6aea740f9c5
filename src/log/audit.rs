//! A segment's batches vouch for themselves: where its checksums are missing, and for `corelane log verify`.
//!
//! Batches must fill the segment from its first byte to its last, each with a sound header and its own CRC,
//! and their offsets must follow one another: without gaps, unless compaction has left some. Behind a batch
//! that is not sound the index says where to go on.

use std::ops::Range;

use crate::{
    log::{
        format::{BATCH_HEADER_BYTES, BatchHead},
        index::Entry,
        sidecar::Spans,
    },
    model::Offset,
};

/// Bytes looked at in one turn, unless one batch is larger.
pub(super) const AUDIT_BYTES: u64 = 256 * 1024;
const CRC: Range<usize> = 17..21;

/// Goes through a segment from front to back.
pub(super) struct Audit {
    length: u64,
    at: u64,
    /// Bytes of the batch at `at`, if known to be more than [`AUDIT_BYTES`].
    wanted: u64,
    next: Offset,
    /// A damaged batch has left it open which offset comes next.
    is_adrift: bool,
    has_gaps: bool,
    /// Ascending by position.
    entries: Vec<Entry>,
    spans: Spans,
    damaged: Vec<Range<u64>>,
}

/// A batch that was found sound: its place, and its first and next offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sound {
    pub(super) position: u64,
    pub(super) head: BatchHead,
}

impl Audit {
    /// Of a segment of `length` bytes. `has_gaps`: it was compacted.
    pub(super) fn new(base: Offset, length: u64, has_gaps: bool, entries: Vec<Entry>) -> Self {
        let spans = Spans::new(base);
        Self {
            length,
            at: 0,
            wanted: 0,
            next: base,
            is_adrift: false,
            has_gaps,
            entries,
            spans,
            damaged: Vec::new(),
        }
    }

    /// The stretch to look at next; `None` when all was seen.
    pub(super) fn wants(&self) -> Option<Range<u64>> {
        let end = self.at + self.wanted.max(AUDIT_BYTES);
        (self.at < self.length).then(|| self.at..end.min(self.length))
    }

    /// Looks at the bytes that were wanted, or as many as there are; none means that the segment ends.
    pub(super) fn look(&mut self, bytes: &[u8], mut found: impl FnMut(Sound, &[u8])) {
        let is_all = self.at + bytes.len() as u64 >= self.length;
        let wanted = self.wants().map_or(0, |range| range.end - range.start);
        if (bytes.len() as u64) < wanted {
            self.missing(bytes);
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let header = rest.first_chunk::<BATCH_HEADER_BYTES>();
            let left = self.length - self.at;
            let head = match header.map(BatchHead::parse) {
                None if !is_all => break,
                Some(Some(head)) if head.length as u64 <= left => head,
                _ => {
                    if !self.skip(&mut rest) {
                        return;
                    }
                    continue;
                }
            };
            if head.length > rest.len() {
                // A length that is not sound asks for what an index entry contradicts.
                if self.entry_within(head.length as u64).is_some() {
                    if !self.skip(&mut rest) {
                        return;
                    }
                    continue;
                }
                self.wanted = head.length as u64;
                return;
            }
            let (batch, after) = rest.split_at(head.length);
            let crc = crc32c::crc32c(&batch[CRC.end..]);
            let has_crc = batch[CRC] == crc.to_be_bytes();
            let may_follow = (self.has_gaps || self.is_adrift) && head.base > self.next;
            let follows = head.base == self.next || may_follow;
            if has_crc && follows {
                self.spans.append(head.base, [batch, &[]]);
                (self.next, self.is_adrift) = (head.next, false);
                found(Sound { position: self.at, head }, batch);
            } else if !has_crc && self.entry_within(head.length as u64).is_some() {
                if !self.skip(&mut rest) {
                    return;
                }
                continue;
            } else {
                self.spans.extend(batch);
                self.damaged_to(self.at + head.length as u64);
                // Only under a CRC that holds is the number of offsets known.
                let offsets = if has_crc { head.next.get() - head.base.get() } else { 1 };
                self.next = Offset::new(self.next.get().saturating_add(offsets));
                self.is_adrift |= !has_crc;
            }
            self.at += head.length as u64;
            rest = after;
        }
        self.wanted = 0;
        if let Some(entry) = self.entries.iter().find(|entry| entry.position == self.at) {
            (self.next, self.is_adrift) = (entry.offset, false);
        }
    }

    fn entry_within(&self, bytes: u64) -> Option<Entry> {
        let end = self.at + bytes;
        self.entries.iter().find(|entry| entry.position > self.at && entry.position < end).copied()
    }

    /// Goes on at the next entry of the index; false if that lies behind these bytes.
    fn skip(&mut self, rest: &mut &[u8]) -> bool {
        let left = self.length - self.at;
        let entry = self.entry_within(left);
        let end = entry.map_or(self.length, |entry| entry.position);
        self.damaged_to(end);
        let skipped = ((end - self.at) as usize).min(rest.len());
        let (now, later) = rest.split_at(skipped);
        self.spans.extend(now);
        // What is not here is not worth a look: it is damaged whatever it is.
        let mut unseen = end - self.at - skipped as u64;
        while unseen > 0 {
            let zeros = unseen.min(AUDIT_BYTES);
            self.spans.extend(&vec![0; zeros as usize]);
            unseen -= zeros;
        }
        self.at = end;
        self.wanted = 0;
        if let Some(entry) = entry {
            (self.next, self.is_adrift) = (entry.offset, false);
        }
        *rest = later;
        !later.is_empty()
    }

    /// The file is shorter than the segment.
    fn missing(&mut self, bytes: &[u8]) {
        self.entries.clear();
        self.skip(&mut &*bytes);
    }

    fn damaged_to(&mut self, end: u64) {
        match self.damaged.last_mut().filter(|last| last.end == self.at) {
            Some(last) => last.end = end,
            None => self.damaged.push(self.at..end),
        }
    }

    /// What is not sound, and the segment's spans with that flagged.
    pub(super) fn finish(mut self) -> (Vec<Range<u64>>, Spans) {
        for range in &self.damaged {
            self.spans.flag(range.clone());
        }
        (self.damaged, self.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{index::NO_TIMESTAMP, tests::batch};

    fn segment() -> (Vec<u8>, Vec<Entry>) {
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for i in 0..40 {
            if i % 5 == 0 {
                let (offset, position) = (Offset::new(3 * i), bytes.len() as u64);
                entries.push(Entry { offset, position, max_before: NO_TIMESTAMP });
            }
            bytes.extend(batch(3 * i, 3, 20_000, 7, 5));
        }
        (bytes, entries)
    }

    fn audit(bytes: &[u8], length: usize, entries: &[Entry]) -> (Vec<Range<u64>>, Spans, u64) {
        let mut audit = Audit::new(Offset::ZERO, length as u64, false, entries.to_vec());
        let mut sound = 0;
        while let Some(range) = audit.wants() {
            let end = (range.end as usize).min(bytes.len());
            audit.look(&bytes[(range.start as usize).min(end)..end], |found, _| {
                sound += found.head.length as u64;
            });
        }
        let (damaged, spans) = audit.finish();
        (damaged, spans, sound)
    }

    #[test]
    fn a_sound_segment_gives_the_spans_that_its_appends_gave() {
        let (bytes, entries) = segment();
        let (damaged, spans, sound) = audit(&bytes, bytes.len(), &entries);
        let mut appended = Spans::new(Offset::ZERO);
        (0..40).for_each(|i| appended.append(Offset::new(3 * i), [&batch(3 * i, 3, 20_000, 7, 5), &[]]));
        assert_eq!((damaged, spans, sound), (vec![], appended, bytes.len() as u64));
    }

    #[test]
    fn a_changed_byte_costs_at_most_its_neighbours_up_to_the_next_index_entry() {
        let (bytes, entries) = segment();
        for at in (0..61).chain([100, 19_999]) {
            // Leader epoch and nothing else may change under a CRC without a batch alone showing it.
            let unseen = (12..16).contains(&at);
            let mut changed = bytes.clone();
            changed[7 * 20_000 + at] ^= 0x40;
            let (damaged, spans, sound) = audit(&changed, bytes.len(), &entries);
            let lost: u64 = damaged.iter().map(|range| range.end - range.start).sum();
            assert_eq!(lost + sound, bytes.len() as u64, "byte {at}");
            if unseen {
                assert_eq!(lost, 0);
                continue;
            }
            assert!(damaged.len() == 1 && damaged[0].contains(&140_000), "byte {at}: {damaged:?}");
            assert!(lost <= 60_000, "byte {at}: {damaged:?}");
            assert!(spans.get(0).expect("a span").0.is_damaged());
        }
    }

    #[test]
    fn a_segment_that_was_cut_is_damaged_from_there_on() {
        let (bytes, entries) = segment();
        let (damaged, spans, _) = audit(&bytes[..123_456], bytes.len(), &entries);
        assert_eq!(damaged.last().map(|range| range.end), Some(bytes.len() as u64));
        assert_eq!(spans.length(), bytes.len() as u64);
    }
}
