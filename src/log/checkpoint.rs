//! What recovery starts from: one small file per shard, two of them in turn.
//!
//! A checkpoint is a picture of every log of the shard at one moment, and where in the journal that
//! moment lies. It is made so (`Store::checkpoint`):
//!
//! 1. In one turn: the state of every log that has changed, and the journal's position.
//! 2. Settling writes every whole block below the pictured ends, seals what was rolled; touched
//!    segments are synced.
//! 3. The file is written (temporary file, sync, rename, directory sync) in place of the older one.
//! 4. Journal files wholly before the replay position of the *older* of the two are free.
//!
//! Step 4 keeps what the older one needs, for a newer one may turn out damaged: then the older one is
//! used, and the journal replayed from there finds every frame. If neither can be read, the shard is not
//! opened: the error names the file. A log's partial last block (under 4 KiB) lies in the checkpoint itself,
//! so an idle log writes nothing to its segment and keeps no journal file from being freed.
//!
//! File `checkpoint.<sequence modulo 2>`, little-endian: the fields of [`Checkpoint`] in their order, one
//! entry per log as [`encode_log`] writes it with its length before it, CRC-32C of all before.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
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

/// Largest checkpoint that is read, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 1 << 30;

const MAGIC: &[u8; 4] = b"CLCP";
const VERSION: u32 = 1;
const NO_SLOT: u32 = u32::MAX;

/// A checkpoint without its logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Counts the checkpoints of one directory; the larger one is the newer.
    pub(super) sequence: u64,
    pub(super) journal_id: u64,
    /// Written at a clean shutdown: nothing follows in the journal.
    pub(super) clean: bool,
    pub(super) replay_from: ReplayFrom,
    /// Frames below this sequence are in the picture already.
    pub(super) captured: u64,
}

/// A checkpoint as it was read: the logs' entries are still encoded.
pub(super) struct Loaded {
    pub(super) checkpoint: Checkpoint,
    pub(super) entries: Vec<Vec<u8>>,
}

impl Checkpoint {
    pub(super) fn encode(&self, entries: &[Rc<[u8]>]) -> Vec<u8> {
        let length: usize = entries.iter().map(|entry| entry.len() + 4).sum();
        let mut out = Writer(Vec::with_capacity(length + 64));
        out.0.extend_from_slice(MAGIC);
        out.u32(VERSION);
        out.u64(self.sequence);
        out.u64(self.journal_id);
        out.u32(u32::from(self.clean));
        out.u32(self.replay_from.slot.unwrap_or(NO_SLOT));
        out.u64(self.replay_from.position);
        out.u64(self.replay_from.sequence);
        out.u64(self.captured);
        out.u32(entries.len() as u32);
        entries.iter().for_each(|entry| out.bytes(entry));
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        out.0
    }

    fn decode(bytes: &[u8]) -> Option<Loaded> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut from = Reader(&covered[MAGIC.len()..]);
        if from.u32()? != VERSION {
            return None;
        }
        let (sequence, journal_id, clean) = (from.u64()?, from.u64()?, from.u32()? != 0);
        let slot = Some(from.u32()?).filter(|&slot| slot != NO_SLOT);
        let replay_from = ReplayFrom { slot, position: from.u64()?, sequence: from.u64()? };
        let captured = from.u64()?;
        let entries = (0..from.u32()?).map(|_| from.bytes()).collect::<Option<Vec<_>>>()?;
        let checkpoint = Self { sequence, journal_id, clean, replay_from, captured };
        Some(Loaded { checkpoint, entries })
    }
}

/// Name of the checkpoint with that sequence.
pub(super) fn file_name(sequence: u64) -> String {
    format!("checkpoint.{}", sequence % 2)
}

/// The newest sound checkpoint of a shard's directory.
pub(super) async fn load(disk: &dyn Disk, directory: &Path) -> Result<Loaded, OpenError> {
    let mut newest: Option<Loaded> = None;
    let mut damaged: Option<PathBuf> = None;
    for sequence in 0..2 {
        let path = directory.join(file_name(sequence));
        match disk.read_small(&path, CHECKPOINT_BYTES_MAX).await {
            Ok(bytes) => match Checkpoint::decode(&bytes) {
                Some(loaded) => {
                    let is_newer = |n: &Loaded| n.checkpoint.sequence < loaded.checkpoint.sequence;
                    if newest.as_ref().is_none_or(is_newer) {
                        newest = Some(loaded);
                    }
                }
                None => damaged = Some(path),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io(&path, error)),
        }
    }
    if let Some(path) = &damaged {
        tracing::error!(file = %path.display(), "checkpoint is damaged; using the other one");
    }
    newest.ok_or_else(|| match damaged {
        Some(path) => OpenError::damaged(&path, "its checksum is wrong, and there is no other checkpoint"),
        None => OpenError::damaged(&directory.join(file_name(1)), "the shard has no checkpoint"),
    })
}

/// A log as a checkpoint pictures it: what is settled, and the partial last block.
pub(super) fn encode_log(log: &Log) -> Rc<[u8]> {
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
    out.bytes(&active.spans.as_ref().map(Spans::encode).unwrap_or_default());
    out.u64(log.scrubbed_ms as u64);
    out.0.into()
}

/// Which partition an encoded log is.
pub(super) fn partition_of(entry: &[u8]) -> Option<TopicPartition> {
    Reader(entry).partition()
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
    // Entries written before there were checksums end here.
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

impl Reader<'_> {
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

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken.to_vec())
    }
}
