//! Answers that are not in memory: ranges of sealed segments, found without reading them.
//!
//! A range starts at the batch that holds the offset asked for and ends with the segment, or at an entry of
//! its index: there a batch begins whose base offset is known, so nothing has to be read to know that
//! whole batches lie before it, and below which offset. What such a range cannot answer (less than a batch
//! between two entries, a segment that is still appended to, a disk without shared files) is walked
//! (`reader.rs`). So is what was not read since the start: a walk compares it with its checksums, and only what
//! has matched is sent unseen.
//!
//! A range may be sent long after it was answered. It keeps the file's descriptor, which survives that the
//! name is removed or replaced; a file that would be *written* again asks [`Store::has_readers`] first.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;

use crate::{
    io::{
        file_range::{FileRange, SharedFile},
        send::Piece,
    },
    log::{
        LogError, LogId, SegmentKey, Store,
        index::{self, Entry, Seek},
        lru::Lru,
        partition_log::{Sealed, Wanted},
        sidecar::{SPAN_BYTES, span_of},
    },
    model::{Offset, TopicPartition},
};

/// A walked answer smaller than this does not keep what the walk has read.
const COPIED_BELOW_BYTES: usize = 64 * 1024;
/// Sealed segments of one shard that are kept open for ranges, beside those that are being sent.
const SHARED_FILES_MAX: usize = 64;

/// Files that ranges are made of, and who still reads.
pub(super) struct SharedFiles {
    open: Lru<SegmentKey, Arc<SharedFile>>,
    /// All that may still be read, also after they have left `open`.
    lent: HashMap<SegmentKey, Vec<Weak<SharedFile>>>,
    /// Reads of segments that are waiting for the disk.
    walks: HashMap<SegmentKey, usize>,
}

impl Default for SharedFiles {
    fn default() -> Self {
        Self { open: Lru::new(SHARED_FILES_MAX), lent: HashMap::new(), walks: HashMap::new() }
    }
}

impl SharedFiles {
    fn insert(&mut self, key: SegmentKey, file: &Arc<SharedFile>) {
        if self.lent.len() >= 2 * SHARED_FILES_MAX {
            self.lent.retain(|_, files| {
                files.retain(|file| file.strong_count() > 0);
                !files.is_empty()
            });
        }
        self.open.insert(key, file.clone());
        let lent = self.lent.entry(key).or_default();
        lent.retain(|file| file.strong_count() > 0);
        lent.push(Arc::downgrade(file));
    }

    pub(super) fn forget_log(&mut self, id: LogId) {
        self.open.retain(|key| key.0 != id);
    }

    /// The segment's files are removed; ranges that were given out keep what they have.
    pub(super) fn forget(&mut self, key: &SegmentKey) {
        self.open.remove(key);
    }

    fn has_readers(&self, key: SegmentKey) -> bool {
        let lent = self.lent.get(&key).into_iter().flatten();
        self.walks.contains_key(&key) || lent.filter_map(Weak::upgrade).any(|file| file.is_read())
    }
}

/// Counts a read that waits for the disk, until dropped.
pub(super) struct Walk<'a> {
    store: &'a Store,
    key: SegmentKey,
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        let mut files = self.store.shared_files.borrow_mut();
        if let Some(count) = files.walks.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                files.walks.remove(&self.key);
            }
        }
    }
}

/// Bounds of one read, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Of the whole answer.
    pub bytes_max: usize,
    /// Of what it holds in memory.
    pub memory_max: usize,
    /// Whether the answer may hold ranges of files.
    pub ranges: bool,
}

impl ReadLimits {
    /// All of the answer is wanted in memory.
    #[must_use]
    pub const fn in_memory(bytes_max: usize) -> Self {
        Self { bytes_max, memory_max: bytes_max, ranges: false }
    }
}

impl Store {
    /// As [`Store::read`], except that what lies in a sealed segment may be answered as a range of its file.
    /// Only an answer in memory counts against `memory_max`; with `at_least_one` its first batch does not.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_pieces(
        &self,
        id: LogId,
        from: Offset,
        end: Offset,
        limits: ReadLimits,
        at_least_one: bool,
    ) -> Result<Vec<Piece>, LogError> {
        let memory_max = limits.bytes_max.min(limits.memory_max);
        let wanted = Wanted { from, end, max_bytes: memory_max, at_least_one };
        if let Some(answer) = self.read_in_memory(id, wanted)? {
            return Ok(answer.into_iter().map(Piece::Memory).collect());
        }
        let wanted = Wanted { max_bytes: limits.bytes_max, ..wanted };
        if limits.ranges
            && let Some(range) = self.read_range(id, wanted).await?
        {
            return Ok(vec![Piece::File(range)]);
        }
        if memory_max == 0 && !at_least_one {
            return Ok(Vec::new());
        }
        let mut answer = self.read(id, from, end, memory_max, at_least_one).await?;
        let bytes: usize = answer.iter().map(Bytes::len).sum();
        if bytes > 0 && bytes < COPIED_BELOW_BYTES {
            answer = vec![answer.concat().into()]; // what was read for the walk is much larger
        }
        Ok(answer.into_iter().map(Piece::Memory).collect())
    }

    /// Whether the file of one version of a segment is being read, or is still to be sent to someone. Until then its bytes
    /// must stay as they are: the file may be removed or replaced, but not written.
    #[must_use]
    pub fn has_readers(&self, id: LogId, segment: Offset, version: u32) -> bool {
        self.shared_files.borrow().has_readers((id, segment, version))
    }

    /// Says that a segment is read from now on, until the result is dropped.
    pub(super) fn walking(&self, id: LogId, segment: Offset, version: u32) -> Walk<'_> {
        let key = (id, segment, version);
        *self.shared_files.borrow_mut().walks.entry(key).or_default() += 1;
        Walk { store: self, key }
    }

    /// The range that answers a request; `None` if it must be walked.
    async fn read_range(&self, id: LogId, wanted: Wanted) -> Result<Option<FileRange>, LogError> {
        let wanted = self.with_log(id, |log| log.narrow(wanted))??;
        let (partition, segment, replacements) =
            self.with_log(id, |log| (log.partition, log.segment_of(wanted.from), log.replacements))?;
        let Some(sealed) = self.sealed(id, segment)? else { return Ok(None) };
        if wanted.from >= wanted.end {
            return Ok(None);
        }
        let Some(file) = self.shared_file(id, partition, sealed).await else { return Ok(None) };
        let index = self.older_index(id, partition, segment).await?;
        let known = {
            let nearest = index::nearest(&index.borrow(), Seek::Offset(wanted.from));
            nearest.filter(|entry| entry.offset == wanted.from).map(|entry| entry.position)
        };
        let hint = self.with_log(id, |log| log.hint(wanted.from))?;
        let hint = hint.filter(|hint| hint.0 == segment).map(|hint| hint.1);
        let start = match known.or(hint) {
            Some(position) => position,
            None => match self.batch_position(id, partition, segment, wanted.from, wanted.end).await? {
                Some(position) => position,
                None => return Ok(None),
            },
        };
        // What was looked up holds if no segment was replaced meanwhile.
        let following = self.with_log(id, |log| {
            let following = log.segments().map(|other| other.base).find(|&base| base > segment);
            (log.replacements == replacements).then_some(following)
        })?;
        let Some(following) = following else { return Ok(None) };
        let Some(end) = range_end(&index.borrow(), start, sealed.length, following, &wanted) else {
            return Ok(None);
        };
        // The kernel sends what it has: only what was compared with its checksums. The walk says what is wrong.
        if !self.is_verified(id, segment, start..end) {
            for index in span_of(start)..end.div_ceil(SPAN_BYTES) {
                if !matches!(self.check_span(id, partition, segment, index).await, Ok(Some(_))) {
                    return Ok(None);
                }
            }
            if self.with_log(id, |log| log.replacements != replacements)? {
                return Ok(None);
            }
        }
        Ok(Some(FileRange::new(file, start, end - start)))
    }

    fn sealed(&self, id: LogId, segment: Offset) -> Result<Option<Sealed>, LogError> {
        self.with_log(id, |log| log.sealed_segment(segment).copied())
    }

    /// A sealed segment's file for ranges; `None` if there is none of that kind, or it is not as it should
    /// be: the walk will say what is wrong.
    async fn shared_file(
        &self,
        id: LogId,
        partition: TopicPartition,
        sealed: Sealed,
    ) -> Option<Arc<SharedFile>> {
        let key = (id, sealed.base, sealed.version);
        let open = self.shared_files.borrow_mut().open.get(&key);
        let file = match open {
            Some(file) => file,
            None => {
                let path = self.segment_path(partition, sealed.base, sealed.version);
                let file = self.disk.open_shared(&path).await.ok()??;
                let mut files = self.shared_files.borrow_mut();
                // Whoever asked at the same time may have been faster; one handle knows all its readers.
                match files.open.get(&key) {
                    Some(open) => open,
                    None => {
                        files.insert(key, &file);
                        file
                    }
                }
            }
        };
        (file.length() >= sealed.length && !file.has_failed()).then_some(file)
    }
}

/// Where a range that starts at `start` ends: with the segment, or where an entry says that a batch begins.
/// `following` is the base offset of the next segment.
fn range_end(
    entries: &[Entry],
    start: u64,
    length: u64,
    following: Option<Offset>,
    wanted: &Wanted,
) -> Option<u64> {
    let limit = start.saturating_add(wanted.max_bytes as u64);
    if length <= limit && start < length && following.is_some_and(|base| base <= wanted.end) {
        return Some(length);
    }
    let below = entries.partition_point(|entry| entry.position <= limit && entry.offset <= wanted.end);
    let end = entries[..below].last()?.position;
    (start < end && end <= length).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_a_batch_begins_below_both_limits() {
        let entry = |offset, position| Entry { offset: Offset::new(offset), position, max_before: 0 };
        let entries = [entry(100, 0), entry(110, 70_000), entry(120, 140_000), entry(130, 210_000)];
        let end = |start, max_bytes, end: i64| {
            let (from, end) = (Offset::ZERO, Offset::new(end));
            let wanted = Wanted { from, end, max_bytes, at_least_one: true };
            range_end(&entries, start, 250_000, Some(Offset::new(140)), &wanted)
        };
        assert_eq!(end(0, 1 << 20, 500), Some(250_000), "the whole segment");
        assert_eq!(end(70_000, 180_000, 140), Some(250_000), "all that is left of it");
        assert_eq!(end(0, 1 << 20, 139), Some(210_000), "the last batches reach above the view");
        assert_eq!(end(0, 1 << 20, 120), Some(140_000));
        assert_eq!(end(0, 150_000, 500), Some(140_000));
        assert_eq!(end(80_000, 59_999, 500), None, "no batch is known to begin in between");
        assert_eq!(end(140_000, 60_000, 500), None);
        assert_eq!(end(0, 1 << 20, 105), None);
        assert_eq!(
            range_end(
                &[],
                0,
                250_000,
                None,
                &Wanted { from: Offset::ZERO, end: Offset::new(500), max_bytes: 1 << 20, at_least_one: true }
            ),
            None
        );
    }
}
