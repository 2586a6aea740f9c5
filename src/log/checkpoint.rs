//! What recovery starts from: four small files per shard, of which any one may be lost.
//!
//! A checkpoint pictures every log of the shard, and says where in the journal to go on from there. It is
//! made so (`Store::checkpoint`):
//!
//! 1. The journal's position is noted. Then, some logs in each turn: the state of every log that has changed.
//!    An entry says itself up to which frame of the journal it is true, for others are being appended.
//! 2. Settling writes every whole block below the pictured ends, seals what was rolled; touched
//!    segments are synced.
//! 3. The file is written (temporary file, sync, rename, directory sync) in place of an older one.
//! 4. Journal files wholly before the replay position of the *last but one* checkpoint are free.
//!
//! A checkpoint is written *whole*, with an entry for every log, if more than half of them have to be
//! written anyway; else as *changes*: the entries of the logs that have changed since the older of the two
//! whole ones. So an idle log costs nothing, and a checkpoint is read from one whole file (any that is not
//! older than `since`) and at most one file of changes, whose entries go before those of the whole one.
//!
//! | files                | holds                 | replaced by                          |
//! |----------------------|-----------------------|--------------------------------------|
//! | `checkpoint.0`, `.1` | the last two whole    | the next whole one: the older of them |
//! | `changes.0`, `.1`    | the last two changes  | the next changes: the older of them  |
//!
//! Whichever one of the four is damaged, the others make up the newest checkpoint or the last but one, and
//! step 4 has kept what the latter needs of the journal. If two cannot be read, nobody can say so: then the
//! shard is not opened, and the error names a file. A log's partial last block (under 4 KiB) lies in its
//! entry, so an idle log writes nothing to its segment and keeps no journal file from being freed.
//!
//! All files, little-endian: the fields of [`Checkpoint`] in their order, per entry the frame it is true up
//! to and as [`encode_log`] writes it with its length before it, CRC-32C of all before. Nobody writes down
//! that a log is gone: no shard owns it then.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    io::disk::Disk,
    log::{
        OpenError,
        journal::ReplayFrom,
        leader_epochs::LeaderEpochs,
        partition_log::{Live, Log, Sealed},
        recovery::Recovered,
        sidecar::Spans,
    },
    model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition, TopicSettings},
};

/// Largest file of a checkpoint that is read, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 1 << 30;

const MAGIC: &[u8; 4] = b"CLCP";
const VERSION: u32 = 3;
const NO_SLOT: u32 = u32::MAX;
/// The files that a shard's directory may have.
pub(super) const FILES: [&str; 4] = ["checkpoint.0", "checkpoint.1", "changes.0", "changes.1"];

/// A checkpoint without its logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Counts the checkpoints of one directory; the larger one is the newer.
    pub(super) sequence: u64,
    /// Only logs that have changed since the checkpoint of this sequence have an entry; 0: every log has.
    pub(super) since: u64,
    pub(super) journal_id: u64,
    /// Length of a file of the journal: one that is shorter, and used, has lost its end.
    pub(super) journal_file_bytes: u64,
    /// Written at a clean shutdown: nothing follows in the journal.
    pub(super) clean: bool,
    pub(super) replay_from: ReplayFrom,
}

/// One file as it was read, found whole.
pub(super) struct File {
    head: Checkpoint,
    bytes: Vec<u8>,
}

/// A checkpoint as it was read: the logs' entries are still encoded.
pub(super) struct Loaded {
    pub(super) checkpoint: Checkpoint,
    whole: File,
    changes: Option<File>,
}

/// One log in a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEntry<'a> {
    pub(super) partition: TopicPartition,
    /// Frames of the log below this sequence are in it already.
    pub(super) captured: u64,
    /// What [`decode_log`] takes.
    pub(super) bytes: &'a [u8],
}

/// A file of a checkpoint while it is being made.
pub(super) struct Encoder {
    out: Writer,
    covered: usize,
    crc: u32,
}

impl Encoder {
    pub(super) fn new(checkpoint: &Checkpoint) -> Self {
        let mut out = Writer(MAGIC.to_vec());
        out.u32(VERSION);
        out.u64(checkpoint.sequence);
        out.u64(checkpoint.since);
        out.u64(checkpoint.journal_id);
        out.u64(checkpoint.journal_file_bytes);
        out.u32(u32::from(checkpoint.clean));
        out.u32(checkpoint.replay_from.slot.unwrap_or(NO_SLOT));
        out.u64(checkpoint.replay_from.position);
        out.u64(checkpoint.replay_from.sequence);
        Self { out, covered: 0, crc: 0 }
    }

    pub(super) fn add(&mut self, captured: u64, entry: &[u8]) {
        self.out.u64(captured);
        self.out.bytes(entry);
    }

    /// Takes what was added so far into the checksum: its part of the work, at the end of a turn.
    pub(super) fn cover(&mut self) {
        self.crc = crc32c::crc32c_append(self.crc, &self.out.0[self.covered..]);
        self.covered = self.out.0.len();
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.cover();
        self.out.u32(self.crc);
        self.out.0
    }
}

impl File {
    const HEAD_BYTES: usize = 4 + 4 + 4 * 8 + 2 * 4 + 2 * 8;
    const CRC_BYTES: usize = 4;

    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<{ Self::CRC_BYTES }>()?;
        if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut from = Reader(&covered[MAGIC.len()..]);
        if from.u32()? != VERSION {
            return None;
        }
        let (sequence, since) = (from.u64()?, from.u64()?);
        let (journal_id, journal_file_bytes) = (from.u64()?, from.u64()?);
        let clean = from.u32()? != 0;
        let slot = Some(from.u32()?).filter(|&slot| slot != NO_SLOT);
        let replay_from = ReplayFrom { slot, position: from.u64()?, sequence: from.u64()? };
        let head = Checkpoint { sequence, since, journal_id, journal_file_bytes, clean, replay_from };
        Some(Self { head, bytes })
    }

    /// Its entries; `None` if they are none that were written so.
    fn entries(&self) -> Option<Vec<LogEntry<'_>>> {
        let mut from = Reader(&self.bytes[Self::HEAD_BYTES..self.bytes.len() - Self::CRC_BYTES]);
        let mut entries = Vec::new();
        while !from.0.is_empty() {
            let (captured, bytes) = (from.u64()?, from.slice()?);
            let partition = Reader(bytes).partition()?;
            entries.push(LogEntry { partition, captured, bytes });
        }
        Some(entries)
    }
}

impl Loaded {
    /// The newest checkpoint that these files make up.
    pub(super) fn newest(files: Vec<File>) -> Option<Self> {
        let (mut whole, mut changes): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.head.since == 0);
        whole.sort_by_key(|file| file.head.sequence);
        let whole = whole.pop()?;
        changes.sort_by_key(|file| file.head.sequence);
        let since = |head: &Checkpoint| head.since <= whole.head.sequence;
        let newer = |head: &Checkpoint| since(head) && head.sequence > whole.head.sequence;
        let changes = changes.pop_if(|file| newer(&file.head));
        let checkpoint = changes.as_ref().map_or(whole.head, |changes| changes.head);
        Some(Self { checkpoint, whole, changes })
    }

    /// The entry of every log; `None` if they are none that were written so.
    pub(super) fn entries(&self) -> Option<Vec<LogEntry<'_>>> {
        let mut entries = match &self.changes {
            Some(changes) => changes.entries()?,
            None => Vec::new(),
        };
        let changed: HashSet<TopicPartition> = entries.iter().map(|entry| entry.partition).collect();
        entries.extend(self.whole.entries()?.into_iter().filter(|entry| !changed.contains(&entry.partition)));
        Some(entries)
    }
}

/// Which files a shard has written in this generation, and so which one is next.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Files {
    whole: usize,
    changes: usize,
    /// Sequences of the last two whole ones, the older one first; 0: none.
    last_whole: [u64; 2],
}

impl Files {
    /// What changes have to go back to; 0 before there are two whole checkpoints.
    pub(super) fn since(&self) -> u64 {
        self.last_whole[0]
    }

    /// Name of the file for a checkpoint. It holds the older one of its kind, or nothing.
    pub(super) fn name_for(&self, checkpoint: &Checkpoint) -> &'static str {
        match checkpoint.since {
            0 => FILES[self.whole % 2],
            _ => FILES[2 + self.changes % 2],
        }
    }

    /// The checkpoint is durable.
    pub(super) fn written(&mut self, checkpoint: &Checkpoint) {
        if checkpoint.since == 0 {
            self.whole += 1;
            self.last_whole = [self.last_whole[1], checkpoint.sequence];
        } else {
            self.changes += 1;
        }
    }
}

/// The newest sound checkpoint of a shard's directory.
pub(super) async fn load(disk: &dyn Disk, directory: &Path) -> Result<Loaded, OpenError> {
    let mut files = Vec::new();
    let mut damaged: Option<PathBuf> = None;
    for name in FILES {
        let path = directory.join(name);
        match disk.read_small(&path, CHECKPOINT_BYTES_MAX).await {
            Ok(bytes) => match (File::parse(bytes), &damaged) {
                (Some(file), _) => files.push(file),
                (None, None) => damaged = Some(path),
                // Which state the rest is of, and whether the journal goes back to it, cannot be known.
                (None, Some(_)) => {
                    return Err(OpenError::damaged(&path, "its checksum is wrong, and another one's too"));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io(&path, error)),
        }
    }
    let newest = Loaded::newest(files);
    if let (Some(path), Some(loaded)) = (&damaged, &newest) {
        let used = loaded.checkpoint.sequence;
        tracing::error!(file = %path.display(), used, "part of a checkpoint is damaged; using the others");
    }
    newest.ok_or_else(|| match damaged {
        Some(path) => OpenError::damaged(&path, "its checksum is wrong, and there is no other checkpoint"),
        None => OpenError::damaged(&directory.join(FILES[0]), "the shard has no checkpoint"),
    })
}

/// A log as a checkpoint pictures it: what is settled, and the partial last block.
pub(super) fn encode_log(log: &Log) -> Vec<u8> {
    let Recovered { snapshot, replayed } = &log.recovered;
    let active = log.active();
    let settled = active.settle_end();
    let mut out = Writer(Vec::with_capacity(256 + snapshot.len() + (active.end - settled) as usize));
    out.partition(log.partition);
    out.offset(log.log_start);
    out.offset(log.next);
    out.offset(active.base);
    out.u64(settled);
    out.u64(active.first_timestamp as u64);
    out.u64(active.max_timestamp as u64);
    out.u64(active.index_valid_to);
    out.u32((active.end - settled) as u32);
    for slice in log.tail.slices(active.base, settled..active.end) {
        out.0.extend_from_slice(&slice);
    }
    out.u32(log.epochs.entries().len() as u32);
    for &(epoch, start) in log.epochs.entries() {
        out.u32(epoch.get() as u32);
        out.offset(start);
    }
    let sealed = log.sealed.len() + log.live.len() - 1;
    out.u32(sealed as u32);
    for segment in log.segments().take(sealed) {
        out.offset(segment.base);
        out.u64(segment.length);
        out.u64(segment.max_timestamp as u64);
    }
    let range = log.quarantined.clone().unwrap_or(Offset::new(-1)..Offset::new(-1));
    out.offset(range.start);
    out.offset(range.end);
    out.bytes(snapshot);
    out.bytes(replayed.as_flattened());
    out.offset(log.compacted_to);
    let rewritten = || log.sealed.iter().filter(|segment| segment.version > 0);
    out.u32(rewritten().count() as u32);
    for segment in rewritten() {
        out.offset(segment.base);
        out.u32(segment.version);
    }
    out.u32(log.ahead.len() as u32);
    for &(base, appended_ms) in &log.ahead {
        out.offset(base);
        out.u64(appended_ms as u64);
    }
    out.bytes(&active.spans.as_ref().map(Spans::encode).unwrap_or_default());
    out.u64(log.scrubbed_ms as u64);
    out.0
}

/// The log; `None` if the bytes are none that [`encode_log`] writes.
pub(super) fn decode_log(entry: &[u8], settings: Arc<TopicSettings>) -> Option<Log> {
    let mut from = Reader(entry);
    let partition = from.partition()?;
    let (log_start, next, base) = (from.offset()?, from.offset()?, from.offset()?);
    let (settled, first, max) = (from.u64()?, from.u64()? as i64, from.u64()? as i64);
    let index_valid_to = from.u64()?;
    let inline = from.bytes()?;
    let epoch = |from: &mut Reader| Some((LeaderEpoch::new(from.u32()? as i32), from.offset()?));
    let epochs = (0..from.u32()?).map(|_| epoch(&mut from)).collect::<Option<Vec<_>>>()?;
    let segment = |from: &mut Reader| {
        let (base, length, max_timestamp) = (from.offset()?, from.u64()?, from.u64()? as i64);
        Some(Sealed { base, length, max_timestamp, version: 0 })
    };
    let mut sealed = (0..from.u32()?).map(|_| segment(&mut from)).collect::<Option<Vec<_>>>()?;
    let quarantined = from.offset()?..from.offset()?;
    let (snapshot, replayed) = (from.bytes()?, from.bytes()?.as_chunks().0.to_vec());

    // Entries written before there was compaction end here.
    let mut compacted_to = log_start;
    if !from.0.is_empty() {
        compacted_to = from.offset()?;
        for _ in 0..from.u32()? {
            let (base, version) = (from.offset()?, from.u32()?);
            sealed.iter_mut().find(|segment| segment.base == base)?.version = version;
        }
    }
    // And those before there was retention here.
    let mut ahead = Vec::new();
    if !from.0.is_empty() {
        for _ in 0..from.u32()? {
            ahead.push((from.offset()?, from.u64()? as i64));
        }
    }

    // And those before there were checksums here.
    let (mut spans, mut scrubbed_ms) = (None, 0);
    if !from.0.is_empty() {
        spans = Some(from.bytes()?).filter(|bytes| !bytes.is_empty());
        scrubbed_ms = from.u64()? as i64;
    }
    let spans = match spans {
        Some(bytes) => Some(Spans::decode(base, &bytes)?),
        None => (settled == 0 && inline.is_empty()).then(|| Spans::new(base)),
    };

    let mut log = Log::new(partition, settings, log_start);
    log.compacted_to = compacted_to;
    log.scrubbed_ms = scrubbed_ms;
    log.ahead = ahead;
    let mut active = Live::resumed(base, settled, first, max);
    active.end = settled + inline.len() as u64;
    active.spans = spans.filter(|spans| spans.length() == active.end);
    active.index_valid_to = index_valid_to.min(active.end);
    log.tail.resume(base, settled, &inline);
    log.live = [active].into();
    log.sealed = sealed;
    log.epochs = LeaderEpochs::from_entries(epochs);
    log.quarantined = (quarantined.start.get() >= 0).then_some(quarantined);
    log.recovered = Recovered { snapshot, replayed };
    (log.next, log.written_end, log.durable_end) = (next, next, next);
    Some(log)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn offset(&mut self, offset: Offset) {
        self.u64(offset.get() as u64);
    }

    fn partition(&mut self, partition: TopicPartition) {
        self.0.extend_from_slice(&partition.topic.to_bytes());
        self.u32(partition.partition.get() as u32);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }
}

/// Reads what is there and never more: a length from the file allocates nothing by itself.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn offset(&mut self) -> Option<Offset> {
        Some(Offset::new(self.u64()? as i64))
    }

    fn partition(&mut self) -> Option<TopicPartition> {
        let topic = TopicId::from_bytes(self.take()?);
        Some(TopicPartition { topic, partition: PartitionIndex::new(self.u32()? as i32) })
    }

    fn slice(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        self.slice().map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn head(sequence: u64, since: u64) -> Checkpoint {
        let replay_from = ReplayFrom { slot: Some(1), position: 4096, sequence: 10 * sequence };
        Checkpoint { sequence, since, journal_id: 7, journal_file_bytes: 8192, clean: false, replay_from }
    }

    fn partition(index: i32) -> TopicPartition {
        TopicPartition { topic: TopicId::from_bytes([3; 16]), partition: PartitionIndex::new(index) }
    }

    /// A file in which the entry of each of these logs says which checkpoint pictured it.
    fn file(head: Checkpoint, logs: impl IntoIterator<Item = (i32, u64)>) -> Vec<u8> {
        let mut encoder = Encoder::new(&head);
        for (index, pictured) in logs {
            let mut entry = Writer(Vec::new());
            entry.partition(partition(index));
            encoder.add(pictured, &entry.0);
        }
        encoder.finish()
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_never_with_a_byte_changed() {
        let bytes = file(head(5, 2), [(1, 9), (4, 8)]);
        let read = File::parse(bytes.clone()).expect("it was written so");
        assert_eq!(read.head, head(5, 2));
        let entries = read.entries().expect("they were written so");
        assert_eq!(entries.iter().map(|entry| entry.captured).collect::<Vec<_>>(), [9, 8]);
        assert_eq!(entries[1].partition, partition(4));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(File::parse(damaged).is_none(), "byte {at}");
        }
    }

    proptest! {
        /// Whatever is written whole and what as changes: without any one file, the rest make up the newest
        /// checkpoint or the last but one, with every log as that one pictured it.
        #[test]
        fn any_one_file_may_be_lost(steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0..6, 0..4)), 1..40)) {
            let (mut files, mut disk) = (Files::default(), BTreeMap::new());
            let mut pictured: BTreeMap<i32, u64> = (0..6).map(|log| (log, 1)).collect();
            let mut former = pictured.clone();
            for (sequence, (whole, changed)) in (1..).zip(steps) {
                former.clone_from(&pictured);
                pictured.extend(changed.into_iter().map(|log| (log, sequence)));
                let since = if whole { 0 } else { files.since() };
                let entries = pictured.iter().map(|(&log, &at)| (log, at)).filter(|&(_, at)| at > since);
                disk.insert(files.name_for(&head(sequence, since)), file(head(sequence, since), entries));
                files.written(&head(sequence, since));
                for lost in FILES {
                    let kept = disk.iter().filter(|(name, _)| sequence == 1 || **name != lost);
                    let newest = Loaded::newest(kept.filter_map(|(_, bytes)| File::parse(bytes.clone())).collect());
                    let newest = newest.expect("something is left");
                    let used = newest.checkpoint.sequence;
                    prop_assert!(used + 1 >= sequence, "without {lost}: {used} of {sequence}");
                    let expected = if used == sequence { &pictured } else { &former };
                    let entries = newest.entries().expect("sound");
                    let found: BTreeMap<_, _> =
                        entries.iter().map(|one| (one.partition.partition.get(), one.captured)).collect();
                    prop_assert_eq!((&found, entries.len()), (expected, expected.len()));
                }
            }
        }
    }
}
